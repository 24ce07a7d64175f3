-- The tables of the log over all records, changed by the functions in `log.sql` alone.

-- Which records stand where: a piece of a run, in the order of its numbers, from a leaf on. The log's
-- own records are those of run 0. The leaves' hashes are those of the records.
CREATE TABLE lar.segments (
    leaf  bigint PRIMARY KEY,
    run   bigint NOT NULL,
    seq   bigint NOT NULL,
    count bigint NOT NULL CHECK (count > 0),
    UNIQUE (run, seq)
);

-- The roots of complete subtrees of heights 8, 16, 24 …
CREATE TABLE lar.subtrees (
    level integer NOT NULL,
    n     bigint NOT NULL,
    hash  bytea NOT NULL,
    PRIMARY KEY (level, n)
);

CREATE TABLE lar.log (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    size        bigint NOT NULL,
    root        bytea NOT NULL,
    checkpoint  text,
    epoch       bigint NOT NULL,
    -- Who integrates, counted on whenever that changes, and until when.
    term        bigint NOT NULL,
    leader      bytea,
    lease_until bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO lar.log (size, root, epoch, term, lease_until) VALUES (0, sha256(''::bytea), 1, 0, 0);

CREATE TABLE lar.epochs (
    number      bigint PRIMARY KEY,
    key         text NOT NULL,
    certificate text
);

-- Runs that have ended and have got records since that are not in the log yet: one row each time, so
-- that whoever takes one away never takes away word of a later one.
CREATE TABLE lar.ended (
    run     bigint NOT NULL,
    records bigint NOT NULL,
    PRIMARY KEY (run, records)
);
INSERT INTO lar.ended SELECT r.n, r.records FROM lar.runs r WHERE r.stop_reason IS NOT NULL;

-- The newest checkpoint that witnesses have cosigned, with their cosignatures.
CREATE TABLE lar.witnessed (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    size       bigint NOT NULL,
    checkpoint text NOT NULL
) WITH (fillfactor = 10);
