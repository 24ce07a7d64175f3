-- The newest checkpoint that an authority has time-stamped, with its answer (RFC 3161).

CREATE TABLE lar.stamped (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    size       bigint NOT NULL,
    checkpoint text NOT NULL,
    answer     bytea NOT NULL
) WITH (fillfactor = 10);
