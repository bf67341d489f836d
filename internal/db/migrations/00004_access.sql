-- +goose Up

-- Moves with every change of who may do what, so that what was read of the
-- tables below can be kept in memory until it does.
CREATE TABLE access_generation (
    one   INTEGER PRIMARY KEY,                  -- 1, the only row
    value BIGINT NOT NULL
);
INSERT INTO access_generation (one, value) VALUES (1, 1);

CREATE TABLE users (
    name       TEXT    NOT NULL,
    hash       TEXT    NOT NULL,                -- bcrypt; '': no login by password
    groups     TEXT    NOT NULL,                -- JSON list
    disabled   INTEGER NOT NULL DEFAULT 0,
    created_at BIGINT  NOT NULL,
    used_at    BIGINT  NOT NULL DEFAULT 0,
    PRIMARY KEY (name)
) WITHOUT ROWID;
CREATE UNIQUE INDEX users_by_any_case ON users (lower(name));

CREATE TABLE robots (
    name        TEXT    NOT NULL,
    description TEXT    NOT NULL,
    disabled    INTEGER NOT NULL DEFAULT 0,
    created_at  BIGINT  NOT NULL,
    used_at     BIGINT  NOT NULL DEFAULT 0,
    PRIMARY KEY (name)
) WITHOUT ROWID;
CREATE UNIQUE INDEX robots_by_any_case ON robots (lower(name));

-- Secrets of users and robots, as SHA-256 only. Ids are not used again, since
-- access tokens and refresh tokens name them.
CREATE TABLE tokens (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    hash       TEXT   NOT NULL UNIQUE,
    owner_kind TEXT   NOT NULL,                 -- user, robot
    owner      TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    scopes     TEXT   NOT NULL,                 -- JSON list; empty: all that the owner may
    created_at BIGINT NOT NULL,
    created_by TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,                 -- 0: never
    used_at    BIGINT NOT NULL DEFAULT 0,
    revoked_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX tokens_by_owner ON tokens (owner_kind, owner, id);

-- What 'docker login' keeps in place of a password.
CREATE TABLE refresh_tokens (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    hash       TEXT   NOT NULL UNIQUE,
    owner_kind TEXT   NOT NULL,
    owner      TEXT   NOT NULL,
    token_id   BIGINT NOT NULL,                 -- the token that it was got with; 0: a password
    service    TEXT   NOT NULL,
    client     TEXT   NOT NULL,                 -- what the client called itself
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX refresh_tokens_by_owner ON refresh_tokens (owner_kind, owner, id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);

-- Who may do what where. Every rule allows; what none allows is refused.
CREATE TABLE rules (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    subject      TEXT   NOT NULL,               -- user:anna, group:dev, robot:ci, anyone, ...
    repositories TEXT   NOT NULL,               -- glob
    actions      TEXT   NOT NULL,               -- joined by commas
    expires_at   BIGINT NOT NULL,               -- 0: never
    note         TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    created_by   TEXT   NOT NULL
);

-- Which tags move only by chosen hands, or never again.
CREATE TABLE tag_rules (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    kind           TEXT    NOT NULL,            -- protected, immutable
    repositories   TEXT    NOT NULL,            -- glob
    tags           TEXT    NOT NULL,            -- glob
    movers         TEXT    NOT NULL,            -- JSON list of subjects; of protected tags
    admin_override INTEGER NOT NULL DEFAULT 0,  -- of immutable tags: administrators may
    note           TEXT    NOT NULL,
    created_at     BIGINT  NOT NULL,
    created_by     TEXT    NOT NULL
);

-- Append-only: every change and every refused attempt.
CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         BIGINT NOT NULL,
    actor      TEXT   NOT NULL,
    address    TEXT   NOT NULL,
    action     TEXT   NOT NULL,
    repository TEXT   NOT NULL,
    subject    TEXT   NOT NULL,                 -- tag, user, rule, ...
    old_digest TEXT   NOT NULL,
    new_digest TEXT   NOT NULL,
    outcome    TEXT   NOT NULL,                 -- allowed, refused
    reason     TEXT   NOT NULL,
    times      BIGINT NOT NULL DEFAULT 1        -- so many equal attempts within a second or so
);
CREATE INDEX audit_by_time ON audit (at, id);
CREATE INDEX audit_by_actor ON audit (actor, id);
CREATE INDEX audit_by_repository ON audit (repository, id);
