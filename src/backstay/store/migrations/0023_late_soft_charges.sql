-- A soft budget lets calls through while Postgres is away, also where its worker was not told of its window. Such a
-- charge names no window: it is that of the call's own time. Rules: docs/decisions/0025-soft-budgets-without-a-window.md.

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
