-- +goose Up

CREATE TABLE projects (
    name        TEXT    PRIMARY KEY,
    next_number INTEGER NOT NULL,
    created_at  BIGINT  NOT NULL
) WITHOUT ROWID;

-- A run is the only truth about itself: what is not here did not happen.
CREATE TABLE runs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    project    TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    trust      TEXT    NOT NULL,                -- '' is the project's own source
    actor      TEXT    NOT NULL,
    cause      TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    commit_id  TEXT    NOT NULL,
    branch     TEXT    NOT NULL,
    state      TEXT    NOT NULL,                -- running, passed, failed, cancelled, interrupted
    failure    TEXT    NOT NULL DEFAULT '',     -- test, build, project, builder, publish, internal
    error      TEXT    NOT NULL DEFAULT '',
    record     TEXT    NOT NULL DEFAULT '',     -- manifest with the log and the reports
    started_at BIGINT  NOT NULL,
    ended_at   BIGINT  NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX runs_by_number ON runs (project, number);
CREATE INDEX runs_by_state ON runs (state) WHERE state = 'running';

-- What a run decided for each target and platform, and why.
CREATE TABLE run_targets (
    run_id   INTEGER NOT NULL,
    target   TEXT    NOT NULL,
    platform TEXT    NOT NULL,
    verdict  TEXT    NOT NULL,                  -- reused, built, passed, failed, held
    reasons  TEXT    NOT NULL,                  -- JSON list
    inputs   TEXT    NOT NULL,                  -- input digest
    previous TEXT    NOT NULL,                  -- input digest of the result before
    manifest TEXT    NOT NULL,
    millis   BIGINT  NOT NULL,
    PRIMARY KEY (run_id, target, platform)
) WITHOUT ROWID;

-- The result index: inputs -> manifest. A test that passed has no manifest.
CREATE TABLE results (
    project  TEXT    NOT NULL,
    trust    TEXT    NOT NULL,
    target   TEXT    NOT NULL,
    platform TEXT    NOT NULL,
    inputs   TEXT    NOT NULL,                  -- input digest
    manifest TEXT    NOT NULL,
    listing  TEXT    NOT NULL,                  -- referrer that holds the list of inputs
    provenance TEXT  NOT NULL,                  -- referrer
    number   INTEGER NOT NULL,                  -- of the run that made it
    built_at BIGINT  NOT NULL,
    used_at  BIGINT  NOT NULL,
    PRIMARY KEY (project, trust, target, platform, inputs)
) WITHOUT ROWID;
CREATE INDEX results_by_use ON results (project, trust, target, platform, used_at);

-- Which run moved a tag last, so that an older one does not move it back; and
-- which repositories are made by builds, and since when.
CREATE TABLE published (
    repository TEXT    NOT NULL,
    tag        TEXT    NOT NULL,
    project    TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    first_at   BIGINT  NOT NULL,
    PRIMARY KEY (repository, tag)
) WITHOUT ROWID;
