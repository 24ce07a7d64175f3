-- What the honest queries of tests/corpus/sql.toml read in MariaDB.
CREATE DATABASE shop;
USE shop;
CREATE TABLE customers (id int PRIMARY KEY, name varchar(80), country char(2));
CREATE TABLE users (id int PRIMARY KEY, name varchar(80), first_name varchar(80), last_name varchar(80), email varchar(80));
CREATE TABLE orders (
    id int PRIMARY KEY AUTO_INCREMENT, customer_id int, status varchar(20), note text, total decimal(10, 2),
    created_at datetime DEFAULT now(), a int, `select` int,
    KEY by_status (status), KEY by_date (created_at), FULLTEXT KEY words (note)
);
CREATE TABLE `order` LIKE orders;
CREATE TABLE items (order_id int, sku varchar(20), price decimal(10, 2));
CREATE TABLE events (id int, data json);
INSERT INTO customers VALUES (1, 'Ada', 'DE'), (2, 'Bob', 'FR');
INSERT INTO orders (customer_id, status, note, total) VALUES (1, 'open', 'late', 120), (2, 'paid', NULL, 8);
CREATE USER corpus_reader@localhost;
GRANT SELECT ON shop.* TO corpus_reader@localhost;
GRANT PROCESS, BINLOG MONITOR, SLAVE MONITOR ON *.* TO corpus_reader@localhost;
