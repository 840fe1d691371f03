//! `/`: where to go from here.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};

const PLAIN: &str = "text/plain; charset=utf-8";
const TEXT: &str = concat!(
    "Arbiter ",
    env!("CARGO_PKG_VERSION"),
    ": the API is described by /api/openapi.json; the command line is `arbiter --help`.\n"
);

/// The one page.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/", show)
            .scope(ProjectScope::Unscoped)
            .access(Access::Public)
            .summary("A line that says where the API is described")
            .answers_as(200, PLAIN),
    ]
}

async fn show(_: ApiRequest) -> Result<Reply, ApiError> {
    Ok(Reply::text(PLAIN, TEXT))
}
