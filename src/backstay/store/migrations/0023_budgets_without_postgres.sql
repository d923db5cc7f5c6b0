-- A soft budget lets calls through while Postgres is away, also where its worker was not told of its window. Such a
-- charge names no window: it is that of the call's own time. Rules: docs/decisions/0025-soft-budgets-without-a-window.md.
-- And a worker tells what its calls have cost before their records are shipped.

alter table budget_leases add column settled bigint not null default 0, add column shipped bigint not null default 0;

-- Where a window of a call's time starts, made where it is missing; null where there was never such a budget. `terms` are
-- told with the charges of the policy's budgets. The answer is the same whenever it is asked, so that a charge that is
-- shipped twice meets itself: it goes by the call's time alone, and neither span nor time zone of a budget ever changes.
create function budgets_place(tenant text, budget text, subject_ text, at timestamptz, terms jsonb) returns bigint
language plpgsql as $$
declare
  spec record;
  bounds record;
  window_ budget_windows;
  left_over bigint := 0;
begin
  if terms is null then
    select b.limit_nanousd, b.span, b.time_zone, b.rollover into spec from budgets b
    where (b.tenant_id, b.budget_id) = (tenant, budget);
    if not found then
      return null;
    end if;
  else
    select (terms->>'limit')::bigint as limit_nanousd, terms->>'span' as span,
           coalesce(terms->>'zone', 'UTC') as time_zone, coalesce((terms->>'rollover')::boolean, false) as rollover
    into spec;
  end if;
  bounds := budget_span(spec.span, spec.time_zone, at);
  if spec.rollover then
    select greatest(0, least(w.limit_nanousd, w.limit_nanousd + w.carried - w.spent - w.granted)) into left_over
    from budget_windows w
    where (w.tenant_id, w.budget_id, w.subject) = (tenant, budget, subject_) and w.starts_us < bounds.starts_us
    order by w.starts_us desc limit 1;
  end if;
  insert into budget_windows (tenant_id, budget_id, subject, starts_us, ends_us, limit_nanousd, carried)
  values (tenant, budget, subject_, bounds.starts_us, bounds.ends_us, spec.limit_nanousd, coalesce(left_over, 0))
  on conflict do nothing returning * into window_;
  if found then
    perform budgets_post(window_, 'allot', 'limit', 'free', window_.limit_nanousd);
    perform budgets_post(window_, 'carry', 'limit', 'free', window_.carried);
  end if;
  return bounds.starts_us;
end $$;

revoke all on function budgets_place(text, text, text, timestamptz, jsonb) from public;
grant execute on function budgets_place(text, text, text, timestamptz, jsonb) to backstay_system;

-- One exchange of a holder with the book: it says what it gives back, and asks for what it needs. `need` is what calls
-- wait for, `unit` the least of use to one of them, `wish` what it would like to have beyond that: it gets at most half
-- of its share of what is left, so that leases shrink as the budget drains. `settled` is what its calls have cost of the
-- window, shipped or not: that comes back to nobody, so that who needs more than there is need not wait for it.
create or replace function budgets_sync(holder_id text, asks jsonb, live_us bigint) returns jsonb
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
  settled_elsewhere bigint;
  answers jsonb := '[]';
begin
  insert into budget_holders values (holder_id, budgets_now_us())
  on conflict (holder) do update set seen_us = excluded.seen_us;
  select greatest(1, count(*)) into live from budget_holders where seen_us > budgets_now_us() - live_us;
  for ask in
    select place, tenant_id, budget_id, subject, coalesce(returns, '[]') as returns, settled as used, coalesce(need, 0) as need,
           coalesce(unit, 0) as unit, coalesce(wish, 0) as wish, "limit", span, zone, rollover
    from jsonb_to_recordset(asks) as a (
      place int, tenant_id text, budget_id text, subject text, returns jsonb, settled jsonb, need bigint, unit bigint, wish bigint,
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
    update budget_leases l set received = received + granted_now, amount = amount + granted_now,
      settled = greatest(settled, case when (ask.used->>0)::bigint = window_.starts_us then (ask.used->>1)::bigint end)
    where (l.tenant_id, l.budget_id, l.subject, l.starts_us, l.holder)
        = (ask.tenant_id, ask.budget_id, ask.subject, window_.starts_us, holder_id)
    returning * into lease;
    if granted_now > 0 then
      update budget_windows w set granted = granted + granted_now
      where (w.tenant_id, w.budget_id, w.subject, w.starts_us)
          = (ask.tenant_id, ask.budget_id, ask.subject, window_.starts_us) returning * into window_;
      perform budgets_post(window_, 'grant', 'free', 'lease:' || holder_id, granted_now);
    end if;
    settled_elsewhere := 0;
    if granted_now < ask.need then
      select coalesce(sum(least(l.amount, greatest(0, l.settled - l.shipped))), 0) into settled_elsewhere
      from budget_leases l
      where (l.tenant_id, l.budget_id, l.subject, l.starts_us)
          = (ask.tenant_id, ask.budget_id, ask.subject, window_.starts_us) and l.holder <> holder_id;
    end if;
    if granted_now < ask.need and window_.granted > lease.amount then
      perform pg_notify('backstay_budgets', jsonb_build_object(
        'recall', jsonb_build_array(ask.tenant_id, ask.budget_id, ask.subject), 'by', holder_id)::text);
    end if;
    answers := answers || jsonb_build_object(
      'place', ask.place, 'starts_us', window_.starts_us, 'ends_us', window_.ends_us, 'received', lease.received,
      'limit', window_.limit_nanousd + window_.carried, 'spent', window_.spent, 'free', room - granted_now,
      'elsewhere', window_.granted - lease.amount - settled_elsewhere);
  end loop;
  return jsonb_build_object('at_us', budgets_now_us(), 'answers', answers);
end $$;
