-- How each window of a budget was spent over time, added up as fine as it is drawn, so that a page reads some hundred sums
-- where it read each posting. A trigger keeps them: whoever inserts, in whatever version, in the same transaction. Who
-- adds to a window's sums holds the window's lock or takes it next, in the same order as others.
-- Reasons and costs: docs/decisions/0026-burns-of-budgets.md.

-- Nobody books until the end of this migration: workers go on with what they have leased, journals keep the calls. A
-- worker's exchange with the book begins with its holder, a shipment with the postings: in this order neither is waited for
-- with something in hand that it needs.
lock table budget_holders, budget_postings, budget_windows, budget_leases in access exclusive mode;

-- When a window was made. A lifetime begins here, and is added up the more coarsely the older it is.
alter table budget_windows add column opened_us bigint;
set local role backstay_system;
update budget_windows set opened_us = starts_us;
update budget_windows w set opened_us = (extract(epoch from first_at) * 1000000)::bigint
from (
  select tenant_id, budget_id, subject, starts_us, min(posted_at) as first_at from budget_postings group by 1, 2, 3, 4
) first
where (w.tenant_id, w.budget_id, w.subject, w.starts_us)
    = (first.tenant_id, first.budget_id, first.subject, first.starts_us);
reset role;
alter table budget_windows alter column opened_us set default budgets_now_us(),
                           alter column opened_us set not null;

-- When what a holder has of a window last changed.
alter table budget_leases add column moved_at timestamptz not null default now();

create table budget_burns (
  tenant_id text not null,
  budget_id text not null,
  subject   text not null,
  starts_us bigint not null,
  at_us     bigint not null,
  amount    bigint not null check (amount > 0),
  primary key (tenant_id, budget_id, subject, starts_us, at_us)
) with (fillfactor = 50);
alter table budget_burns enable row level security;
alter table budget_burns force row level security;
create policy one_tenant on budget_burns to backstay_app using (tenant_id = backstay_tenant())
  with check (tenant_id = backstay_tenant());
create policy all_tenants on budget_burns to backstay_system using (true) with check (true);
grant select on budget_burns to backstay_app;
grant select, insert, update on budget_burns to backstay_system;

-- When the part of a window begins that a moment lies in. A window that ends has 48 equal parts, which are whole
-- microseconds, as it lasts whole minutes. The parts of a lifetime are at most a twelfth of its age at that moment, once
-- it is twelve minutes old. What was paid before a window, by a clock that is behind, is in its first part; what was
-- paid after it, in its last.
create function budget_part(starts_us bigint, ends_us bigint, opened_us bigint, at timestamptz) returns bigint
language plpgsql immutable parallel safe as $$
declare
  at_us bigint := extract(epoch from at) * 1000000;
  length_us bigint := (ends_us - starts_us) / 48;
  age_us bigint;
begin
  if ends_us < 9223372036854775807 then
    return starts_us + least(47, greatest(0, at_us - starts_us) / length_us) * length_us;
  end if;
  age_us := greatest(0, at_us - opened_us);
  length_us := case when age_us < 7200000000 then 60000000         -- minutes, up to two hours
                    when age_us < 43200000000 then 300000000       -- five minutes, up to half a day
                    when age_us < 172800000000 then 1800000000     -- half hours, up to two days
                    when age_us < 518400000000 then 7200000000     -- two hours, up to six days
                    when age_us < 2073600000000 then 21600000000   -- quarters of a day, up to 24 days
                    else 86400000000 end;
  return opened_us + age_us / length_us * length_us;
end $$;

create function roll_up_burns() returns trigger language plpgsql as $$
begin
  if not exists (select from added where sink = 'spent') then
    return null;
  end if;
  insert into budget_burns as sums (tenant_id, budget_id, subject, starts_us, at_us, amount)
  select tenant_id, budget_id, subject, starts_us, budget_part(starts_us, ends_us, opened_us, posted_at) as at_us,
         sum(amount)
  from added
  cross join lateral (  -- looked up, whatever is known of how many there are
    select ends_us, opened_us from budget_windows w
    where (w.tenant_id, w.budget_id, w.subject, w.starts_us)
        = (added.tenant_id, added.budget_id, added.subject, added.starts_us)
    offset 0
  ) part_of
  where sink = 'spent'
  group by 1, 2, 3, 4, 5
  order by tenant_id collate "C", budget_id collate "C", subject collate "C", starts_us, at_us
  on conflict (tenant_id, budget_id, subject, starts_us, at_us) do update set amount = sums.amount + excluded.amount;
  return null;
end $$;

create trigger roll_up after insert on budget_postings
  referencing new table as added for each statement execute function roll_up_burns();

create function budgets_lease_moved() returns trigger language plpgsql as $$
begin
  new.moved_at := now();
  return new;
end $$;
create trigger moved before update on budget_leases
  for each row when (new.amount <> old.amount and new.moved_at = old.moved_at) execute function budgets_lease_moved();

-- The calls that a window paid most for are found among its dearest postings: of what was reserved, and of what was not.
-- These stand in the place of the index that found all of a window's postings, which nobody reads any more.
create index budget_postings_dearest on budget_postings (tenant_id, budget_id, subject, starts_us, amount desc)
  where kind = 'charge' and source <> 'free';
create index budget_postings_dearest_uncovered on budget_postings (tenant_id, budget_id, subject, starts_us, amount desc)
  where kind = 'charge' and source = 'free';
drop index budget_postings_of;

-- What was paid already.
set local role backstay_system;
insert into budget_burns
select tenant_id, budget_id, subject, starts_us, budget_part(starts_us, ends_us, opened_us, posted_at), sum(amount)
from budget_postings join budget_windows using (tenant_id, budget_id, subject, starts_us)
where sink = 'spent'
group by 1, 2, 3, 4, 5;
reset role;

-- Book what calls cost in one window, of which `uncovered` was not reserved. A lease that is gone (its holder's was
-- written off) is made good from what is free. Nothing is done for what is 0, which pays for what is added up: most windows
-- of a shipment are of one user, who has one call in it.
create or replace function budgets_settle(tenant text, budget text, subject_ text, starts bigint, holder_id text,
                                          covered bigint, uncovered bigint) returns void
language plpgsql as $$
declare
  window_ budget_windows;
  held bigint;
  missing bigint;
begin
  select * into window_ from budget_windows w
  where (w.tenant_id, w.budget_id, w.subject, w.starts_us) = (tenant, budget, subject_, starts) for update;
  if covered > 0 then
    select l.amount into held from budget_leases l
    where (l.tenant_id, l.budget_id, l.subject, l.starts_us, l.holder) = (tenant, budget, subject_, starts, holder_id);
    update budget_leases l set amount = amount - least(amount, covered), shipped = shipped + covered, moved_at = now()
    where (l.tenant_id, l.budget_id, l.subject, l.starts_us, l.holder) = (tenant, budget, subject_, starts, holder_id);
  end if;
  missing := greatest(0, covered - coalesce(held, 0));
  if missing > 0 then
    perform budgets_post(window_, 'adjust', 'free', 'lease:' || holder_id, missing);
  end if;
  update budget_windows w set spent = spent + covered + uncovered, granted = granted - (covered - missing)
  where (w.tenant_id, w.budget_id, w.subject, w.starts_us) = (tenant, budget, subject_, starts);
end $$;
