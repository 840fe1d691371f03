//! The right to name a Unix socket as endpoint: a path on the server's machine, where other services listen too.

use crate::caller::Caller;
use crate::error::Error;
use crate::services::Services;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::token::Role;
use arbiter_files::Directory;
use std::path::{Path, PathBuf};

/// Refuses a socket as new endpoint below an administrator, unless it lies below a root of `providers.socket_roots`
/// without a link on the way. `before` is the endpoint that the provider has.
pub(crate) async fn check_endpoint(
    shared: &Services,
    caller: &Caller,
    endpoint: Option<&str>,
    before: Option<&str>,
) -> Result<(), Error> {
    let named = endpoint.filter(|endpoint| endpoint.starts_with('/') && Some(*endpoint) != before);
    let Some(endpoint) = named.filter(|_| caller.authority.role != Role::Admin) else { return Ok(()) };
    let (socket, roots) = (PathBuf::from(endpoint), shared.settings.socket_roots.clone());
    let looked =
        tokio::task::spawn_blocking(move || roots.iter().any(|root| lies_below(&socket, root))).await;
    if looked.unwrap_or(false) {
        return Ok(());
    }
    Err(Refusal::Forbidden(format!(
        "endpoint {endpoint} lies below no root of providers.socket_roots, or behind a link: only an administrator \
         names it"
    ))
    .into())
}

/// Returns whether a socket's directory lies below a root without a link on the way; it may come later.
fn lies_below(socket: &Path, root: &Path) -> bool {
    let below = socket.parent().and_then(|parent| parent.strip_prefix(root).ok());
    let opened = below.map(|below| Directory::open(root).and_then(|root| root.below(below)));
    opened.is_some_and(|opened| opened.map_or_else(|error| error.is_missing(), |_| true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn socket_lies_below_a_root_only_without_links() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        std::fs::create_dir_all(root.join("llama")).unwrap();
        symlink("/run", root.join("way")).unwrap();
        for (path, is_below) in [
            ("root/a.sock", true),
            ("root/llama/a.sock", true),
            ("root/later/a.sock", true),
            ("root/way/docker.sock", false),
            ("root/llama/../../a.sock", false),
            ("a.sock", false),
            ("rooted/a.sock", false),
        ] {
            assert_eq!(lies_below(&home.path().join(path), &root), is_below, "{path}");
        }
    }
}
