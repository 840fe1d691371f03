//! The table of all endpoints, in the order in which people look for them.

use crate::http::endpoint::Endpoint;
use crate::http::{
    agents, bead_actions, bead_views, beads, comments, config, decisions, events, health, keys, openapi,
    projects, provider_views, providers, root, runs, scrape, system, tokens, vault, work_graph,
};

/// Every endpoint of the server.
pub fn endpoints() -> Vec<Endpoint> {
    [
        root::endpoints(),
        health::endpoints(),
        system::endpoints(),
        vault::endpoints(),
        keys::endpoints(),
        providers::endpoints(),
        provider_views::endpoints(),
        agents::endpoints(),
        projects::endpoints(),
        beads::endpoints(),
        bead_actions::endpoints(),
        bead_views::endpoints(),
        comments::endpoints(),
        work_graph::endpoints(),
        decisions::endpoints(),
        runs::endpoints(),
        events::endpoints(),
        tokens::endpoints(),
        config::endpoints(),
        openapi::endpoints(),
        scrape::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
