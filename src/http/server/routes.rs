//! The table of all endpoints, in the order in which people look for them.

use crate::http::agent::{handlers as agent_handlers, personas, runs, work};
use crate::http::bead::{
    actions as bead_actions, claim_next, comments, files as bead_files, handlers as bead_handlers,
    insight as bead_insight, work_graph,
};
use crate::http::decision;
use crate::http::framework::endpoint::Endpoint;
use crate::http::gateway::{self, repl};
use crate::http::project::{file_locks, handlers as project_handlers, org_charts};
use crate::http::provider::{
    budgets, handlers as provider_handlers, insight as provider_insight, models, usage,
};
use crate::http::server::openapi;
#[cfg(feature = "temporal")]
use crate::http::system::temporal;
use crate::http::system::{
    config, events, health, keys, log_messages, metrics_endpoint, root, session, status as system_status,
    tokens, vault,
};

/// Every endpoint of the server.
pub fn endpoints() -> Vec<Endpoint> {
    [
        root::endpoints(),
        health::endpoints(),
        system_status::endpoints(),
        vault::endpoints(),
        keys::endpoints(),
        provider_handlers::endpoints(),
        provider_insight::endpoints(),
        models::endpoints(),
        agent_handlers::endpoints(),
        personas::endpoints(),
        project_handlers::endpoints(),
        org_charts::endpoints(),
        bead_handlers::endpoints(),
        bead_actions::endpoints(),
        claim_next::endpoints(),
        bead_insight::endpoints(),
        comments::endpoints(),
        work_graph::endpoints(),
        decision::endpoints(),
        file_locks::endpoints(),
        runs::endpoints(),
        bead_files::endpoints(),
        work::endpoints(),
        gateway::endpoints(),
        repl::endpoints(),
        usage::endpoints(),
        budgets::endpoints(),
        events::endpoints(),
        log_messages::endpoints(),
        tokens::endpoints(),
        session::endpoints(),
        config::endpoints(),
        openapi::endpoints(),
        metrics_endpoint::endpoints(),
        #[cfg(feature = "temporal")]
        temporal::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::framework::required_role::Access;
    use crate::http::framework::router::{RouteMatch, Router};
    use std::sync::Arc;
    use warp::http::Method;

    #[test]
    fn every_path_matches_its_own_endpoint() {
        let endpoints: Vec<Arc<Endpoint>> = endpoints().into_iter().map(Arc::new).collect();
        let router = Router::new(&endpoints);
        for endpoint in &endpoints {
            let filled =
                |segment: &str| if segment.starts_with('{') { "x-1".to_owned() } else { segment.to_owned() };
            let path = endpoint.path.split('/').map(filled).collect::<Vec<_>>().join("/");
            let RouteMatch::Endpoint(found, params) = router.find(&endpoint.method, &path) else {
                panic!("{} {path} leads nowhere", endpoint.method)
            };
            assert!(Arc::ptr_eq(found, endpoint), "{path} leads to {}", found.path);
            assert_eq!(params.len(), endpoint.path.matches('{').count());
        }
    }

    #[test]
    fn required_roles_match_the_specification() {
        let below = |path: &str, resources: &[&str]| {
            resources.iter().any(|resource| path.starts_with(&format!("/api/v1/{resource}")))
        };
        for endpoint in endpoints() {
            let (method, path) = (&endpoint.method, endpoint.path);
            let reads = *method == Method::GET;
            let secret = below(path, &["tokens", "config"])
                || !reads && below(path, &["vault", "keys", "temporal/codec/rotate"]);
            let public = matches!(path, "/" | "/api/openapi.json" | "/api/openapi.yaml" | "/api/v1/session")
                || below(path, &["health"]);
            let expected = match endpoint.access {
                Access::Admin => secret,
                Access::Public => public,
                Access::Viewer => reads && !secret && !public,
                Access::Agent => {
                    let work = below(path, &["beads", "decisions", "file-locks"]) || path.starts_with("/v1/");
                    !reads && (work || path.ends_with("/comments"))
                }
                Access::Operator => !reads && !secret,
            };
            assert!(expected, "{method} {path} is for {}", endpoint.access.as_str());
        }
    }
}
