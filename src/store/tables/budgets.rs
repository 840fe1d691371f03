//! The table of budgets, with the marks of what was spent for certain.

use crate::base::error::StoreError;
use crate::base::table::{get_optional_time, parse};
use crate::tables::calls;
use arbiter_core::budget::meter::BudgetSeed;
use arbiter_core::budget::{Budget, BudgetKey, BudgetScope, Period, SpendCheckpoint};
use arbiter_core::kernel::money::Usd;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::{Connection, Row, params};

fn read(row: &Row<'_>) -> rusqlite::Result<Budget> {
    let key = BudgetKey { scope: parse(row, 0, BudgetScope::parse)?, period: parse(row, 1, Period::parse)? };
    let (spent, warned) = (Usd::from_dollars(row.get(4)?), row.get(5)?);
    let checkpoint =
        get_optional_time(row, 3)?.map(|window| SpendCheckpoint { key: key.clone(), window, spent, warned });
    Ok(Budget { key, cap: Usd::from_dollars(row.get(2)?), checkpoint })
}

/// Returns every budget.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Budget>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT scope, period, cap_usd, marked_window, marked_usd, warned FROM budgets ORDER BY scope, period",
    )?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns every budget with its spending in the current window by the ledger.
pub(crate) fn seeds(connection: &Connection, now: Timestamp) -> Result<Vec<BudgetSeed>, StoreError> {
    let open = |budget: Budget| {
        let ledger = calls::spent(connection, &budget.key.scope, budget.key.period.window(now))?;
        Ok(BudgetSeed { budget, ledger })
    };
    all(connection)?.into_iter().map(open).collect()
}

/// Stores a budget; one that is there keeps its mark.
pub(crate) fn put(connection: &Connection, budget: &Budget) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO budgets (scope, period, cap_usd) VALUES (?1, ?2, ?3)
             ON CONFLICT (scope, period) DO UPDATE SET cap_usd = excluded.cap_usd",
        )?
        .execute(params![budget.key.scope.to_string(), budget.key.period.as_str(), budget.cap.dollars()])?;
    Ok(())
}

/// Deletes a budget.
pub(crate) fn remove(connection: &Connection, key: &BudgetKey) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM budgets WHERE scope = ?1 AND period = ?2")?
        .execute(params![key.scope.to_string(), key.period.as_str()])?;
    Ok(())
}

/// Stores a checkpoint unless a later one exists; that of a deleted budget is ignored.
pub(crate) fn checkpoint(connection: &Connection, checkpoint: &SpendCheckpoint) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE budgets SET marked_window = ?3, marked_usd = ?4, warned = ?5
             WHERE scope = ?1 AND period = ?2 AND (marked_window IS NULL OR marked_window < ?3
                 OR marked_window = ?3 AND (marked_usd < ?4 OR marked_usd = ?4 AND warned < ?5))",
        )?
        .execute(params![
            checkpoint.key.scope.to_string(),
            checkpoint.key.period.as_str(),
            checkpoint.window.to_string(),
            checkpoint.spent.dollars(),
            checkpoint.warned,
        ])?;
    Ok(())
}
