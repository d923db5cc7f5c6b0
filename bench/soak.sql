-- name: windows
-- What some budgets have spent, and what of them is still held.
select budget_id, sum(spent)::bigint as spent, sum(granted)::bigint as granted from budget_windows
where tenant_id = %(tenant_id)s and budget_id = any(%(ids)s) group by 1
