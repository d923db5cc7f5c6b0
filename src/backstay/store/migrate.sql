-- name: lock
-- Held until the connection closes: one process at a time migrates.
select pg_advisory_lock(hashtext('backstay.migrate'));

-- name: prepare
-- Roles belong to the server, not to the database, so that another database's migration may make them meanwhile.
do $$
declare
  name text;
begin
  foreach name in array array['backstay_app', 'backstay_system'] loop
    if not exists (select from pg_roles where rolname = name) then
      begin
        execute format('create role %I nologin nosuperuser nocreatedb nocreaterole nobypassrls', name);
      exception when duplicate_object or unique_violation then
        null;
      end;
    end if;
    if not pg_has_role(current_user, name, 'set') then
      execute format('grant %I to current_user', name);
    end if;
  end loop;
end $$;
create table if not exists schema_migrations (
  name       text primary key,
  checksum   text not null,
  applied_at timestamptz not null default now()
);

-- name: applied
select name, checksum from schema_migrations order by name;

-- name: record
insert into schema_migrations (name, checksum) values (%(name)s, %(checksum)s);

-- name: finish
-- As the system role: the owner of the tables is bound by row-level security too, and has no policy.
begin;
set local role backstay_system;
insert into tenants (tenant_id) values ('default') on conflict do nothing;
commit;
