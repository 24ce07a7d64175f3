-- What the honest queries of tests/corpus/sql.toml read in SQLite.
CREATE TABLE customers (id integer PRIMARY KEY, name text, country text);
CREATE TABLE orders (
    id integer PRIMARY KEY, customer_id int, status text, note text, total real, created_at text, name text
);
CREATE TABLE items (order_id int, sku text, price real);
CREATE TABLE events (id integer PRIMARY KEY, data text, created_at text);
CREATE TABLE docs (id integer PRIMARY KEY, data text);
CREATE TABLE t (a, b, c, d, e, f real, g int, x int, y int, z int, name text, "a;b" text);
INSERT INTO customers VALUES (1, 'Ada', 'DE'), (2, 'Bob', 'FR');
INSERT INTO orders (customer_id, status, total) VALUES (1, 'open', 120), (2, 'paid', 8);
INSERT INTO events VALUES (1, '{"a": 1, "b": 2, "c": 3}', '2026-01-01');
INSERT INTO docs VALUES (1, '{"a": 1, "b": 2, "items": [1, 2]}');
