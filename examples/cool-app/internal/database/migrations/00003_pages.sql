-- +goose Up
-- Pages are read newest first, of all tasks or of those with one status.
CREATE INDEX tasks_newest ON tasks (created DESC, id DESC);
CREATE INDEX tasks_newest_by_status ON tasks (status, created DESC, id DESC);

-- +goose Down
DROP INDEX tasks_newest_by_status;
DROP INDEX tasks_newest;
