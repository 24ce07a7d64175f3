-- The table that the example reads, and a role that can do no more than read it.
CREATE TABLE orders (
    id         integer PRIMARY KEY,
    customer   text NOT NULL,
    status     text NOT NULL CHECK (status IN ('pending', 'paid', 'shipped')),
    cents      integer NOT NULL,
    created_at timestamptz NOT NULL
);

INSERT INTO orders VALUES
    (1, 'ada',     'paid',    1250, now() - interval '9 days'),
    (2, 'grace',   'pending', 4800, now() - interval '3 days'),
    (3, 'edsger',  'shipped', 2100, now() - interval '2 days'),
    (4, 'barbara', 'pending', 9900, now() - interval '2 days'),
    (5, 'tony',    'pending', 700,  now() - interval '1 hour');

CREATE ROLE reader LOGIN;
ALTER ROLE reader SET default_transaction_read_only = on;
GRANT SELECT ON orders TO reader;
