-- +goose Up
CREATE TABLE tasks (
    id      uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title   text NOT NULL,
    notes   text NOT NULL,
    status  text NOT NULL CHECK (status IN ('open', 'doing', 'done')),
    due     date,
    version bigint NOT NULL DEFAULT 1,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now()
);

-- +goose Down
DROP TABLE tasks;
