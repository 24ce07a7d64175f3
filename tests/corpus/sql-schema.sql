-- What the honest queries of tests/corpus/sql.toml read.
CREATE TYPE order_status AS ENUM ('open', 'paid', 'none');
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, country text, tags text[],
    email text);
CREATE TABLE orders (
    id serial PRIMARY KEY, customer_id int REFERENCES customers, status text, note text, total numeric,
    created_at timestamptz DEFAULT now(), updated_at timestamptz, deleted boolean, tags text[]
);
CREATE TABLE items (order_id int, sku text, price numeric, qty int);
CREATE TABLE events (id int, data jsonb);
CREATE TABLE docs (id int, data jsonb, body text);
CREATE TABLE nodes (id int, parent_id int);
CREATE TABLE t (a int, b int);
CREATE VIEW v AS SELECT id FROM orders;
CREATE VIEW "My Table" AS SELECT created_at::date AS "Order Date" FROM orders;
INSERT INTO customers VALUES (1, 'Ada', 'DE', '{vip}'), (2, 'Bob', 'FR', '{}');
INSERT INTO orders (customer_id, status, note, total) VALUES (1, 'open', 'late', 120), (2, 'paid', NULL, 8);
INSERT INTO items VALUES (1, 'a', 20), (1, 'b', 100), (2, 'a', 8);
INSERT INTO events VALUES (1, '{"a": {"b": 1}, "items": [{"sku": "a", "price": 2}]}');
CREATE ROLE corpus_reader LOGIN;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO corpus_reader;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO corpus_reader;
