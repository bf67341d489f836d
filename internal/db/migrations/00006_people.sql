-- +goose Up

-- Users who log in elsewhere, by OpenID Connect. The two together mean one
-- person for ever; names are given again.
ALTER TABLE users ADD COLUMN issuer TEXT NOT NULL DEFAULT '';       -- URL; '': a user of this server
ALTER TABLE users ADD COLUMN subject TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN tokens_until BIGINT NOT NULL DEFAULT 0; -- when the tokens of such a user end, at the latest
CREATE UNIQUE INDEX users_by_subject ON users (issuer, subject) WHERE issuer <> '';
