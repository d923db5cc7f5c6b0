-- name: find_database
select from pg_database where datname = %s;

-- name: create_database
create database {name};
