-- The chain of the ledger's own records, which are those of run 0: how many there are, the hash of the
-- last, and when it was written. Whoever adds one takes this row first. Spends don't touch it.
CREATE TABLE lar.own (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    records bigint NOT NULL,
    head    bytea NOT NULL,
    at      bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO lar.own (records, head, at)
SELECT count(*),
       coalesce((SELECT w.hash FROM lar.records w WHERE w.run = 0 ORDER BY w.seq DESC LIMIT 1),
                sha256(''::bytea)),
       0
FROM lar.records r WHERE r.run = 0;
