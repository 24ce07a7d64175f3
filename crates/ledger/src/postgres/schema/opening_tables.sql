-- What records commit to, apart from them: whoever owns the ledger can delete it. A line is the canonical JSON
-- whose SHA-256 stands in the record.

CREATE TABLE lar.openings (
    run   bigint NOT NULL,
    seq   bigint NOT NULL,
    place bigint NOT NULL,
    line  text NOT NULL,
    PRIMARY KEY (run, seq, place)
);
