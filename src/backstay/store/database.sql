-- name: begin_tenant
begin;
set local role backstay_app;
set local statement_timeout = {limit_ms};
select set_config('backstay.tenant', {tenant_id}, true);

-- name: set_for_transaction
select set_config({name}, {value}, true);

-- name: begin_system
begin;
set local role backstay_system;
set local statement_timeout = {limit_ms};

-- name: ping
select 1;

-- name: listen
listen {channel};
