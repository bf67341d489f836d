-- Times are milliseconds since 1970, UTC. Digests are text, "sha256:<hex>".
-- +goose Up

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE repositories (
    id              INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,
    delete_untagged INTEGER NOT NULL DEFAULT 0, -- 1: collection deletes untagged manifests
    created_at      BIGINT  NOT NULL
);

-- The only map from a digest to bytes: inline in blob_content, or in the blob
-- store under store_key.
CREATE TABLE blobs (
    digest     TEXT   PRIMARY KEY,
    size       BIGINT NOT NULL,
    store_key  TEXT,                            -- NULL: inline
    touched_at BIGINT NOT NULL                  -- last push; collection waits for gc.grace after it
) WITHOUT ROWID;

CREATE TABLE blob_content (
    digest  TEXT PRIMARY KEY,
    content BLOB NOT NULL
);

-- Which repository holds which blob.
CREATE TABLE members (
    repository_id INTEGER NOT NULL,
    digest        TEXT    NOT NULL,
    touched_at    BIGINT  NOT NULL,             -- last push, mount or existence check
    PRIMARY KEY (repository_id, digest)
) WITHOUT ROWID;
CREATE INDEX members_by_digest ON members (digest);

CREATE TABLE manifests (
    repository_id INTEGER NOT NULL,
    digest        TEXT    NOT NULL,
    media_type    TEXT    NOT NULL,
    artifact_type TEXT    NOT NULL DEFAULT '',
    subject       TEXT,
    annotations   TEXT    NOT NULL DEFAULT '',  -- JSON; only of manifests with a subject
    size          BIGINT  NOT NULL,
    pushed_at     BIGINT  NOT NULL,
    pulled_at     BIGINT  NOT NULL DEFAULT 0,
    PRIMARY KEY (repository_id, digest)
) WITHOUT ROWID;
CREATE INDEX manifests_by_digest ON manifests (digest);
CREATE INDEX manifests_by_subject ON manifests (repository_id, subject, digest) WHERE subject IS NOT NULL;

-- What a manifest's content points at, the same in every repository.
CREATE TABLE edges (
    parent TEXT   NOT NULL,
    child  TEXT   NOT NULL,
    kind   TEXT   NOT NULL,                     -- config, layer, manifest
    size   BIGINT NOT NULL,
    PRIMARY KEY (parent, child, kind)
) WITHOUT ROWID;
CREATE INDEX edges_by_child ON edges (child, parent);

CREATE TABLE tags (
    repository_id INTEGER NOT NULL,
    name          TEXT    NOT NULL,
    digest        TEXT    NOT NULL,
    moved_at      BIGINT  NOT NULL,
    pulled_at     BIGINT  NOT NULL DEFAULT 0,
    PRIMARY KEY (repository_id, name)
) WITHOUT ROWID;
CREATE INDEX tags_by_manifest ON tags (repository_id, digest);

-- Permanent: every move of every tag. An empty digest stands for "no tag".
CREATE TABLE tag_history (
    id         INTEGER PRIMARY KEY,
    repository TEXT   NOT NULL,
    tag        TEXT   NOT NULL,
    old_digest TEXT   NOT NULL,
    new_digest TEXT   NOT NULL,
    actor      TEXT   NOT NULL,
    cause      TEXT   NOT NULL,
    at         BIGINT NOT NULL
);
CREATE INDEX tag_history_by_tag ON tag_history (repository, tag, id);

-- A deleted manifest, until it can no longer be restored. It keeps the bytes.
CREATE TABLE tombstones (
    repository TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    media_type TEXT   NOT NULL,
    tags       TEXT   NOT NULL,                 -- JSON list: the tags that it had
    actor      TEXT   NOT NULL,
    cause      TEXT   NOT NULL,
    deleted_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX tombstones_by_digest ON tombstones (digest);

CREATE TABLE uploads (
    id          TEXT    PRIMARY KEY,
    repository  TEXT    NOT NULL,
    size        BIGINT  NOT NULL,               -- the offset: bytes received and durable
    hash_state  BLOB,
    store_state TEXT    NOT NULL DEFAULT '',
    tail        BLOB,                           -- all bytes of an upload that is still small
    version     INTEGER NOT NULL,
    cancelled   INTEGER NOT NULL DEFAULT 0,
    created_at  BIGINT  NOT NULL,
    updated_at  BIGINT  NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_by_age ON uploads (updated_at);

-- Roots for collection beside the tags.
CREATE TABLE pins (
    holder     TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (holder, digest)
) WITHOUT ROWID;
CREATE INDEX pins_by_digest ON pins (digest);

-- Keys of the blob store that no row names any more and that must be deleted.
CREATE TABLE garbage (
    store_key TEXT   PRIMARY KEY,
    added_at  BIGINT NOT NULL
) WITHOUT ROWID;

-- Outbox: what happened, written in the transaction that made it happen.
CREATE TABLE events (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT   NOT NULL,
    repository TEXT   NOT NULL,
    tag        TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    old_digest TEXT   NOT NULL,
    actor      TEXT   NOT NULL,
    cause      TEXT   NOT NULL,
    at         BIGINT NOT NULL
);
CREATE INDEX events_by_age ON events (at);
