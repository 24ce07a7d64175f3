-- The tables of a ledger. They are changed by the functions beside this file and by nothing else.
-- Times are milliseconds since 1970-01-01T00:00:00Z by the database's clock.

CREATE SCHEMA lar;

CREATE TABLE lar.ledger (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    id      text NOT NULL,
    version integer NOT NULL,
    epoch   bigint NOT NULL
);

-- The highest time that was given out, to the second. A table of its own, because it is written
-- every second.
CREATE TABLE lar.clock (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    millis bigint NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE lar.grants (
    n           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text NOT NULL UNIQUE,
    issued      bigint NOT NULL,
    expires     bigint,
    revoked_at  bigint,
    revoked_why bytea,
    epoch       bigint NOT NULL,
    definitions text NOT NULL
);
CREATE INDEX named_grants ON lar.grants (n) WHERE id NOT LIKE 'run/%';

CREATE TABLE lar.tokens (
    grant_n           bigint NOT NULL REFERENCES lar.grants (n),
    name              text NOT NULL,
    position          integer NOT NULL,
    definition        bytea NOT NULL,
    granted           bigint NOT NULL,
    uses_left         bigint NOT NULL,
    expires           bigint,
    requires_approval boolean NOT NULL,
    -- A candidate is locked for every run but the one for which a person unlocked it.
    candidate         boolean NOT NULL,
    unlocked_by       text,
    -- What the grant says, beside what is spent, so that one row tells both: the epoch in which it may be
    -- spent, which is none (0) once the grant is revoked, and when the grant ends. See `lar.grant_ends`.
    epoch             bigint NOT NULL,
    grant_expires     bigint,
    PRIMARY KEY (grant_n, name),
    -- One constraint: the server reads each anew at every spend.
    CONSTRAINT uses CHECK (uses_left BETWEEN 0 AND granted)
) WITH (fillfactor = 50);

CREATE TABLE lar.runs (
    n           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text NOT NULL UNIQUE,
    grant_n     bigint NOT NULL REFERENCES lar.grants (n),
    opened      bigint NOT NULL,
    stop_reason text,
    records     bigint NOT NULL,
    head        bytea NOT NULL,
    -- When the last record was written.
    at          bigint NOT NULL,
    task        bytea NOT NULL,
    owner       text NOT NULL,
    fence       bigint NOT NULL,
    lease_ms    bigint NOT NULL,
    lease_until bigint NOT NULL,
    pages       bigint NOT NULL
) WITH (fillfactor = 50);

CREATE INDEX open_runs ON lar.runs (n) WHERE stop_reason IS NULL;

-- What follows is written at every spend and refers to rows that are never deleted, so that no
-- foreign key is checked each time.
CREATE TABLE lar.attempts (
    run            bigint NOT NULL,
    id             bytea NOT NULL,
    token          text NOT NULL,
    action         bytea NOT NULL,
    state          text NOT NULL,
    fence          bigint NOT NULL,
    lease_until    bigint,
    approved_until bigint,
    holder         bigint NOT NULL,
    seq            bigint NOT NULL,
    PRIMARY KEY (run, id)
) WITH (fillfactor = 70);

-- The attempts that are reserved, for whoever looks for a hold that ran out.
CREATE TABLE lar.holds (
    grant_n     bigint NOT NULL,
    token       text NOT NULL,
    run         bigint NOT NULL,
    attempt     bytea NOT NULL,
    lease_until bigint NOT NULL,
    PRIMARY KEY (grant_n, token, run, attempt)
);

CREATE TABLE lar.records (
    run   bigint NOT NULL,
    seq   bigint NOT NULL,
    hash  bytea NOT NULL,
    bytes bytea NOT NULL,
    -- Which request wrote it, so that a lost answer can be found out.
    nonce bytea NOT NULL,
    PRIMARY KEY (run, seq)
);

CREATE TABLE lar.journal (
    run   bigint NOT NULL,
    page  bigint NOT NULL,
    bytes bytea NOT NULL,
    nonce bytea NOT NULL,
    PRIMARY KEY (run, page)
);

-- The roles that may run with this ledger, so that a later version can grant them what it adds.
CREATE TABLE lar.admitted (
    role name PRIMARY KEY
);
