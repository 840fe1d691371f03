//! Queries of org charts and of the agents that fill their positions.

use crate::base::error::StoreError;
use crate::read::queries::snapshot;
use crate::store::Store;
use crate::tables::org_charts;
use arbiter_core::agent::Agent;
use arbiter_core::project::org_chart::OrgChart;

impl Store {
    /// The chart of a project with the agents of that project, oldest first; none without the project.
    pub async fn org_chart(&self, project: String) -> Result<Option<(OrgChart, Vec<Agent>)>, StoreError> {
        self.readers
            .read(move |connection| {
                snapshot(connection, |c| {
                    let Some(chart) = org_charts::get(c, &project)? else { return Ok(None) };
                    Ok(Some((chart, org_charts::members(c, &project)?)))
                })
            })
            .await
    }

    /// The agents that name a persona in one of these ways.
    pub async fn agents_of_persona(&self, names: Vec<String>) -> Result<Vec<Agent>, StoreError> {
        self.readers.read(move |connection| org_charts::agents_of_persona(connection, &names)).await
    }
}
