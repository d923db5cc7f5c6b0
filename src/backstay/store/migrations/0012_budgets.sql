-- Budgets as escrow: workers lease parts of a window's money and reserve from them; what a call cost comes with its
-- record. Amounts in nano-USD, times in microseconds of this server's clock since the Unix epoch.
-- Rules: docs/decisions/0017-escrow.md.

create table budgets (
  tenant_id         text not null,
  budget_id         text not null,
  name              text not null default '',
  scope             text[] not null,      -- 'feature:chat', 'user:u1', …: a call must fit all of them; none: all calls
  per               text check (per in ('key', 'user', 'feature', 'model', 'tag')),
  limit_nanousd     bigint not null check (limit_nanousd >= 0),
  span              text not null check (span in ('minute', 'hour', 'day', 'week', 'month', 'lifetime')),
  time_zone         text not null default 'UTC',
  hard              boolean not null default true,
  on_low            text not null default 'clamp' check (on_low in ('clamp', 'downgrade', 'refuse', 'queue')),
  min_output_tokens int not null default 64 check (min_output_tokens > 0),
  wait_ms           int not null default 5000 check (wait_ms >= 0),
  rollover          boolean not null default false,
  stopped           boolean not null default false,
  created_at        timestamptz not null default now(),
  created_by        text not null,
  changed_at        timestamptz not null default now(),
  deleted_at        timestamptz,
  primary key (tenant_id, budget_id)
);

-- One window of a budget for one subject ('' unless it is one of many, as of every user). spent + granted stay within
-- limit + carried; only a call that cost more than was reserved for it, a soft budget or a lowered limit goes beyond.
create table budget_windows (
  tenant_id     text not null,
  budget_id     text not null,
  subject       text not null,
  starts_us     bigint not null,
  ends_us       bigint not null,
  limit_nanousd bigint not null,
  carried       bigint not null default 0,
  spent         bigint not null default 0,
  granted       bigint not null default 0 check (granted >= 0),
  primary key (tenant_id, budget_id, subject, starts_us)
) with (fillfactor = 50);

-- What a holder (a worker's journal) has of a window. The totals only grow, so that to say them twice changes nothing.
create table budget_leases (
  tenant_id text not null,
  budget_id text not null,
  subject   text not null,
  starts_us bigint not null,
  holder    text not null,
  received  bigint not null default 0,
  returned  bigint not null default 0,
  amount    bigint not null default 0 check (amount >= 0),
  primary key (tenant_id, budget_id, subject, starts_us, holder)
) with (fillfactor = 50);
create index budget_leases_of on budget_leases (holder);

create table budget_holders (
  holder  text primary key,
  seen_us bigint not null
);

-- The double entry: every move of money between accounts of a window. 'limit' is where it comes from, 'free' what nobody
-- holds, 'lease:…' what a holder has, 'spent' where it goes. Append-only.
create table budget_postings (
  tenant_id text not null,
  posted_at timestamptz not null,
  posting   bigint generated always as identity,
  budget_id text not null,
  subject   text not null,
  starts_us bigint not null,
  kind      text not null check (kind in ('allot', 'carry', 'grant', 'return', 'charge', 'write_off', 'adjust')),
  source    text not null,
  sink      text not null,
  amount    bigint not null check (amount > 0),
  call_id   text,
  primary key (tenant_id, posted_at, posting)
) partition by range (posted_at);
create unique index budget_postings_once on budget_postings
  (tenant_id, posted_at, call_id, budget_id, subject, starts_us, source) where kind = 'charge';
create index budget_postings_of on budget_postings (tenant_id, budget_id, subject, starts_us);

create or replace function ensure_partitions(day date) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  parent text;
  child text;
begin
  foreach parent in array array['spans', 'ledger_entries', 'budget_postings'] loop
    child := parent || '_' || to_char(day, 'YYYYMMDD');
    if to_regclass(child) is null then
      perform pg_advisory_xact_lock(hashtext('backstay.partition'));
      if not exists (select from pg_class where relname = child and relnamespace = 'public'::regnamespace) then
        execute format('create table %I partition of %I for values from (%L) to (%L)', child, parent,
                       day::timestamp at time zone 'utc', (day + 1)::timestamp at time zone 'utc');
      end if;
    end if;
  end loop;
end $$;

do $$
declare
  name text;
begin
  foreach name in array array['budgets', 'budget_windows', 'budget_leases', 'budget_postings'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('create policy one_tenant on %I to backstay_app using (tenant_id = backstay_tenant()) '
                   'with check (tenant_id = backstay_tenant())', name);
    execute format('create policy all_tenants on %I to backstay_system using (true) with check (true)', name);
  end loop;
end $$;
alter table budget_holders enable row level security;
alter table budget_holders force row level security;
create policy all_holders on budget_holders to backstay_system using (true) with check (true);
grant select, insert, update on budgets to backstay_system;
grant select on budgets, budget_windows, budget_leases, budget_postings to backstay_app, backstay_system;
grant insert, update, delete on budget_windows, budget_leases to backstay_system;
grant select, insert, update, delete on budget_holders to backstay_system;
grant insert on budget_postings to backstay_system;

create function budgets_now_us() returns bigint language sql volatile
  as $$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint $$;

create function budgets_post(window_ budget_windows, kind text, source text, sink text, amount bigint) returns void
language plpgsql as $$
begin
  if amount > 0 then
    if to_regclass('budget_postings_' || to_char(now() at time zone 'utc', 'YYYYMMDD')) is null then
      perform ensure_partitions((now() at time zone 'utc')::date);
    end if;
    insert into budget_postings (tenant_id, posted_at, budget_id, subject, starts_us, kind, source, sink, amount)
    values (window_.tenant_id, now(), window_.budget_id, window_.subject, window_.starts_us, kind, source, sink, amount);
  end if;
end $$;

-- The window of a span that holds a moment. Days, weeks and months are those of the time zone, so that one of them may
-- have 23 or 25 hours; minutes and hours are the same everywhere.
create function budget_span(span text, zone text, at timestamptz, out starts_us bigint, out ends_us bigint)
language plpgsql stable as $$
declare
  first timestamp;
begin
  if span = 'lifetime' then
    starts_us := 0;
    ends_us := 9223372036854775807;
  elsif span in ('minute', 'hour') then
    starts_us := extract(epoch from date_trunc(span, at, 'UTC')) * 1000000;
    ends_us := starts_us + case span when 'minute' then 60000000 else 3600000000 end;
  else
    first := date_trunc(span, at at time zone zone);
    starts_us := extract(epoch from first at time zone zone) * 1000000;
    ends_us := extract(epoch from (first + ('1 ' || span)::interval) at time zone zone) * 1000000;
  end if;
end $$;

-- Give back what a holder says it returned of a window, up to now. The window is locked.
create function budgets_take_back(window_ budget_windows, holder_id text, total bigint) returns bigint
language plpgsql as $$
declare
  given bigint;
begin
  update budget_leases l set returned = total, amount = amount - (total - l.returned)
  where (l.tenant_id, l.budget_id, l.subject, l.starts_us, l.holder) =
        (window_.tenant_id, window_.budget_id, window_.subject, window_.starts_us, holder_id) and l.returned < total
  returning total - old.returned into given;
  if given is null then
    return 0;
  end if;
  update budget_windows w set granted = granted - given
  where (w.tenant_id, w.budget_id, w.subject, w.starts_us) =
        (window_.tenant_id, window_.budget_id, window_.subject, window_.starts_us);
  perform budgets_post(window_, 'return', 'lease:' || holder_id, 'free', given);
  return given;
end $$;

-- Make the current window where there is none, with what its predecessor left if that is wanted; bring its limit up to
-- date; and lock it.
create function budgets_open(tenant text, budget text, subject_ text, limit_ bigint, span text, zone text,
                             rollover boolean) returns budget_windows
language plpgsql as $$
declare
  window_ budget_windows;
  bounds record := budget_span(span, zone, clock_timestamp());
  left_over bigint := 0;
begin
  select * into window_ from budget_windows w
  where (w.tenant_id, w.budget_id, w.subject, w.starts_us) = (tenant, budget, subject_, bounds.starts_us) for update;
  if not found then
    if rollover then
      select greatest(0, least(w.limit_nanousd, w.limit_nanousd + w.carried - w.spent - w.granted)) into left_over
      from budget_windows w
      where (w.tenant_id, w.budget_id, w.subject) = (tenant, budget, subject_) and w.starts_us < bounds.starts_us
      order by w.starts_us desc limit 1;
    end if;
    insert into budget_windows (tenant_id, budget_id, subject, starts_us, ends_us, limit_nanousd, carried)
    values (tenant, budget, subject_, bounds.starts_us, bounds.ends_us, limit_, coalesce(left_over, 0))
    on conflict do nothing returning * into window_;
    if found then
      perform budgets_post(window_, 'allot', 'limit', 'free', limit_);
      perform budgets_post(window_, 'carry', 'limit', 'free', window_.carried);
    else
      select * into window_ from budget_windows w
      where (w.tenant_id, w.budget_id, w.subject, w.starts_us) = (tenant, budget, subject_, bounds.starts_us) for update;
    end if;
  end if;
  if window_.limit_nanousd <> limit_ then
    perform budgets_post(window_, 'allot', 'limit', 'free', limit_ - window_.limit_nanousd);
    perform budgets_post(window_, 'allot', 'free', 'limit', window_.limit_nanousd - limit_);
    update budget_windows w set limit_nanousd = limit_
    where (w.tenant_id, w.budget_id, w.subject, w.starts_us) = (tenant, budget, subject_, bounds.starts_us)
    returning * into window_;
  end if;
  return window_;
end $$;

-- One exchange of a holder with the book: it says what it gives back, and asks for what it needs. `need` is what calls
-- wait for, `unit` the least of use to one of them, `wish` what it would like to have beyond that: it gets at most half
-- of its share of what is left, so that leases shrink as the budget drains.
create function budgets_sync(holder_id text, asks jsonb, live_us bigint) returns jsonb
language plpgsql as $$
declare
  ask record;
  back record;
  spec record;
  window_ budget_windows;
  lease budget_leases;
  live int;
  room bigint;
  granted_now bigint;
  answers jsonb := '[]';
begin
  insert into budget_holders values (holder_id, budgets_now_us())
  on conflict (holder) do update set seen_us = excluded.seen_us;
  select greatest(1, count(*)) into live from budget_holders where seen_us > budgets_now_us() - live_us;
  for ask in
    select place, tenant_id, budget_id, subject, coalesce(returns, '[]') as returns, coalesce(need, 0) as need,
           coalesce(unit, 0) as unit, coalesce(wish, 0) as wish, "limit", span, zone, rollover
    from jsonb_to_recordset(asks) as a (
      place int, tenant_id text, budget_id text, subject text, returns jsonb, need bigint, unit bigint, wish bigint,
      "limit" bigint, span text, zone text, rollover boolean)
    order by tenant_id collate "C", budget_id collate "C", subject collate "C"
  loop
    for back in
      select w as window_, (r->>1)::bigint as total
      from jsonb_array_elements(ask.returns) as r
      join budget_windows w on (w.tenant_id, w.budget_id, w.subject, w.starts_us)
                             = (ask.tenant_id, ask.budget_id, ask.subject, (r->>0)::bigint)
      order by w.starts_us for update of w
    loop
      perform budgets_take_back(back.window_, holder_id, back.total);
    end loop;

    if ask.span is null then
      select b.limit_nanousd, b.span, b.time_zone, b.rollover into spec from budgets b
      where (b.tenant_id, b.budget_id) = (ask.tenant_id, ask.budget_id) and b.deleted_at is null;
      if not found then
        answers := answers || jsonb_build_object('place', ask.place, 'gone', true);
        continue;
      end if;
    else
      select ask."limit" as limit_nanousd, ask.span as span, ask.zone as time_zone, ask.rollover as rollover into spec;
    end if;
    window_ := budgets_open(ask.tenant_id, ask.budget_id, ask.subject, spec.limit_nanousd, spec.span, spec.time_zone,
                            spec.rollover);
    insert into budget_leases (tenant_id, budget_id, subject, starts_us, holder)
    values (ask.tenant_id, ask.budget_id, ask.subject, window_.starts_us, holder_id) on conflict do nothing;
    room := window_.limit_nanousd + window_.carried - window_.spent - window_.granted;
    granted_now := 0;
    if room > 0 and room >= ask.unit then
      granted_now := least(ask.need, room) + least(ask.wish, greatest(0, room - ask.need) / (2 * live));
    end if;
    update budget_leases l set received = received + granted_now, amount = amount + granted_now
    where (l.tenant_id, l.budget_id, l.subject, l.starts_us, l.holder)
        = (ask.tenant_id, ask.budget_id, ask.subject, window_.starts_us, holder_id)
    returning * into lease;
    if granted_now > 0 then
      update budget_windows w set granted = granted + granted_now
      where (w.tenant_id, w.budget_id, w.subject, w.starts_us)
          = (ask.tenant_id, ask.budget_id, ask.subject, window_.starts_us) returning * into window_;
      perform budgets_post(window_, 'grant', 'free', 'lease:' || holder_id, granted_now);
    end if;
    if granted_now < ask.need and window_.granted > lease.amount then
      perform pg_notify('backstay_budgets', jsonb_build_object(
        'recall', jsonb_build_array(ask.tenant_id, ask.budget_id, ask.subject), 'by', holder_id)::text);
    end if;
    answers := answers || jsonb_build_object(
      'place', ask.place, 'starts_us', window_.starts_us, 'ends_us', window_.ends_us, 'received', lease.received,
      'limit', window_.limit_nanousd + window_.carried, 'spent', window_.spent, 'free', room - granted_now,
      'elsewhere', window_.granted - lease.amount);
  end loop;
  return jsonb_build_object('at_us', budgets_now_us(), 'answers', answers);
end $$;

-- Book what calls cost in one window, of which `uncovered` was not reserved. A lease that is gone (its holder's was
-- written off) is made good from what is free.
create function budgets_settle(tenant text, budget text, subject_ text, starts bigint, holder_id text, covered bigint,
                               uncovered bigint) returns void
language plpgsql as $$
declare
  window_ budget_windows;
  held bigint;
  missing bigint;
begin
  select * into window_ from budget_windows w
  where (w.tenant_id, w.budget_id, w.subject, w.starts_us) = (tenant, budget, subject_, starts) for update;
  select l.amount into held from budget_leases l
  where (l.tenant_id, l.budget_id, l.subject, l.starts_us, l.holder) = (tenant, budget, subject_, starts, holder_id);
  missing := greatest(0, covered - coalesce(held, 0));
  perform budgets_post(window_, 'adjust', 'free', 'lease:' || holder_id, missing);
  update budget_leases l set amount = amount - (covered - missing)
  where (l.tenant_id, l.budget_id, l.subject, l.starts_us, l.holder) = (tenant, budget, subject_, starts, holder_id);
  update budget_windows w set spent = spent + covered + uncovered, granted = granted - (covered - missing)
  where (w.tenant_id, w.budget_id, w.subject, w.starts_us) = (tenant, budget, subject_, starts);
end $$;

-- Take everything back from holders whose journals are shipped to their end; or, where a journal is lost with its
-- machine, book all that they had as spent. Returns how much that was.
create function budgets_end(holder_id text, is_spent boolean) returns bigint
language plpgsql as $$
declare
  lease budget_leases;
  window_ budget_windows;
  total bigint := 0;
begin
  for lease in select * from budget_leases where holder = holder_id
               order by tenant_id collate "C", budget_id collate "C", subject collate "C", starts_us
  loop
    select * into window_ from budget_windows w
    where (w.tenant_id, w.budget_id, w.subject, w.starts_us)
        = (lease.tenant_id, lease.budget_id, lease.subject, lease.starts_us) for update;
    delete from budget_leases l
    where (l.tenant_id, l.budget_id, l.subject, l.starts_us, l.holder)
        = (lease.tenant_id, lease.budget_id, lease.subject, lease.starts_us, holder_id) returning * into lease;
    continue when lease.amount is null or lease.amount = 0;
    perform budgets_post(window_, case when is_spent then 'write_off' else 'return' end, 'lease:' || holder_id,
                         case when is_spent then 'spent' else 'free' end, lease.amount);
    update budget_windows w set granted = granted - lease.amount,
                                spent = spent + case when is_spent then lease.amount else 0 end
    where (w.tenant_id, w.budget_id, w.subject, w.starts_us)
        = (lease.tenant_id, lease.budget_id, lease.subject, lease.starts_us);
    total := total + lease.amount;
  end loop;
  delete from budget_holders where holder = holder_id;
  return total;
end $$;

create function budgets_tell() returns trigger language plpgsql as $$
begin
  perform pg_notify('backstay_budgets', jsonb_build_object('changed', jsonb_build_array(new.tenant_id, new.budget_id))::text);
  return null;
end $$;
create trigger tell after insert or update on budgets for each row execute function budgets_tell();

revoke all on function budgets_post(budget_windows, text, text, text, bigint),
  budgets_take_back(budget_windows, text, bigint), budgets_open(text, text, text, bigint, text, text, boolean),
  budgets_sync(text, jsonb, bigint), budgets_settle(text, text, text, bigint, text, bigint, bigint),
  budgets_end(text, boolean) from public;
grant execute on function budgets_post(budget_windows, text, text, text, bigint),
  budgets_take_back(budget_windows, text, bigint), budgets_open(text, text, text, bigint, text, text, boolean),
  budgets_sync(text, jsonb, bigint), budgets_settle(text, text, text, bigint, text, bigint, bigint),
  budgets_end(text, boolean) to backstay_system;
