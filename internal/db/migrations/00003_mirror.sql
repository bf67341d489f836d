-- +goose Up

-- Manifests that came from an upstream registry and may go again when cached
-- content takes too much room. What a person pushed under an upstream's name
-- is not here.
CREATE TABLE mirror_manifests (
    repository TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    fetched_at BIGINT NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;

-- What an upstream last said of a tag. A tag that points elsewhere, or has no
-- row, was set by a person and is not asked about.
CREATE TABLE mirror_tags (
    repository TEXT   NOT NULL,
    tag        TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    checked_at BIGINT NOT NULL,                 -- when the upstream last confirmed it
    PRIMARY KEY (repository, tag)
) WITHOUT ROWID;
