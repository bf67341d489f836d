-- +goose Up

-- The sizes of a repository's blobs and manifests, moved with every row of
-- members and manifests, so that a push reads one row and adds nothing up.
ALTER TABLE repositories ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;
UPDATE repositories SET bytes =
    COALESCE((SELECT SUM(b.size) FROM members m JOIN blobs b ON b.digest = m.digest WHERE m.repository_id = repositories.id), 0)
  + COALESCE((SELECT SUM(m.size) FROM manifests m WHERE m.repository_id = repositories.id), 0);

-- The sizes of all blobs, each once, moved with every row of blobs.
CREATE TABLE content (
    one   INTEGER PRIMARY KEY,                  -- 1, the only row
    bytes BIGINT NOT NULL
);
INSERT INTO content (one, bytes) SELECT 1, COALESCE(SUM(size), 0) FROM blobs;

-- Limits of single repositories. They are kept by name: who may delete a
-- repository does not get rid of its limit by that.
CREATE TABLE quotas (
    repository TEXT   NOT NULL,
    bytes      BIGINT NOT NULL,                 -- 0: no limit
    PRIMARY KEY (repository)
) WITHOUT ROWID;
