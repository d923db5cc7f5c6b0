-- How a budget's limit was given, with the rate that it was converted by, where that was not in US dollars: for people.
alter table budgets add column limit_given text;
