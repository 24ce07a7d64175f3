-- What people sign about attempts that wait for approvals.

CREATE TABLE lar.decisions (
    run       bigint NOT NULL,
    attempt   bytea NOT NULL,
    place     bigint NOT NULL,
    statement text NOT NULL,
    signature text NOT NULL,
    PRIMARY KEY (run, attempt, place)
);

-- The roles that may do that and no more, so that a later version can grant them what it adds.
CREATE TABLE lar.approving (
    role name PRIMARY KEY
);
