-- Calls that are made later: the lines of batches, and single ones whose answer is fetched or sent on. Files hold the
-- lines that come and the results that go. One row of job_calls is one request and, in the end, its answer; the answer of
-- a call that was made comes by the journal, in one transaction with what it cost (jobs/queries.sql, merge_jobs).

create table files (
  tenant_id  text not null,
  file_id    text not null,
  key_id     text not null,
  purpose    text not null,
  filename   text,
  size_bytes bigint not null default 0,
  status     text not null default 'writing' check (status in ('writing', 'processed')),
  created_at timestamptz not null default now(),
  primary key (tenant_id, file_id)
);
create index files_unfinished on files (created_at) where status = 'writing';

create table file_chunks (
  tenant_id text not null,
  file_id   text not null,
  number    int not null,
  data      bytea not null,
  primary key (tenant_id, file_id, number),
  foreign key (tenant_id, file_id) references files on delete cascade
);
alter table file_chunks alter column data set storage external;

create table batches (
  tenant_id         text not null,
  batch_id          text not null,
  key_id            text not null,
  endpoint          text not null,
  input_file_id     text not null,
  completion_window text not null,
  metadata          jsonb,
  status            text not null default 'validating' check (status in
    ('validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', 'cancelled')),
  errors            jsonb,
  output_file_id    text,
  error_file_id     text,
  owner             text,
  total             int not null default 0,
  completed         int not null default 0,
  failed            int not null default 0,
  created_at        timestamptz not null default now(),
  expires_at        timestamptz not null,
  in_progress_at    timestamptz,
  finalizing_at     timestamptz,
  completed_at      timestamptz,
  failed_at         timestamptz,
  expired_at        timestamptz,
  cancelling_at     timestamptz,
  cancelled_at      timestamptz,
  primary key (tenant_id, batch_id)
);
create index batches_open on batches (status) where status in ('validating', 'in_progress', 'finalizing', 'cancelling');

create table job_calls (
  tenant_id     text not null,
  job_id        text not null,
  batch_id      text,
  line          int,
  key_id        text not null,
  custom_id     text,
  path          text not null,
  body          bytea,
  terms         jsonb,
  state         text not null default 'waiting' check (state in ('waiting', 'running', 'done', 'failed', 'cancelled')),
  owner         text,
  tries         int not null default 0,
  due_at        timestamptz not null default now(),
  expires_at    timestamptz not null,
  trace_id      text not null,
  http_status   int,
  answer        bytea,
  error         jsonb,
  webhook_url   text,
  webhook_state text check (webhook_state in ('waiting', 'delivered', 'failed')),
  webhook_tries int not null default 0,
  webhook_due_at timestamptz,
  webhook_error text,
  created_at    timestamptz not null default now(),
  finished_at   timestamptz,
  primary key (tenant_id, job_id)
);
create unique index job_calls_lines on job_calls (tenant_id, batch_id, line) where batch_id is not null;
create index job_calls_open_lines on job_calls (tenant_id, batch_id, line)
  where batch_id is not null and state in ('waiting', 'running');
create index job_calls_open on job_calls (tenant_id, key_id, due_at) where batch_id is null and state = 'waiting';
create index job_calls_due on job_calls (due_at) where state = 'waiting';
create index job_calls_owned on job_calls (owner) where state = 'running';
create index job_calls_told on job_calls (webhook_due_at) where webhook_state = 'waiting';
create index job_calls_old on job_calls (finished_at) where batch_id is null and finished_at is not null;

-- A tenant's webhooks are signed with a secret that is made of the installation's and this; the one before signs too for
-- a while, so that receivers can change over.
create table webhook_secrets (
  tenant_id      text primary key,
  salt           bytea not null,
  earlier_salt   bytea,
  earlier_until  timestamptz,
  made_at        timestamptz not null default now()
);

-- Who runs jobs: an installation, and when it was last heard of. What belongs to one that is silent goes to the others.
-- It serves all tenants, so that it has none, and only the system role sees it.
create table job_runners (
  owner   text primary key,
  seen_at timestamptz not null default now()
);

do $$
declare
  name text;
begin
  foreach name in array array['files', 'file_chunks', 'batches', 'job_calls', 'webhook_secrets', 'job_runners'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('create policy all_tenants on %I to backstay_system using (true) with check (true)', name);
    if name <> 'job_runners' then
      execute format('create policy one_tenant on %I to backstay_app using (tenant_id = backstay_tenant()) '
                     'with check (tenant_id = backstay_tenant())', name);
    end if;
  end loop;
end $$;
grant select, insert, update, delete on files, file_chunks, batches, job_calls, webhook_secrets
  to backstay_app, backstay_system;
grant select, insert, update, delete on job_runners to backstay_system;
