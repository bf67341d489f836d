-- +goose Up
-- The Idempotency-Key that a task was made with, and a hash of what was asked for.
ALTER TABLE tasks
    ADD create_key  text UNIQUE,
    ADD create_hash bytea,
    ADD CHECK ((create_key IS NULL) = (create_hash IS NULL));

-- +goose Down
ALTER TABLE tasks
    DROP create_key,
    DROP create_hash;
