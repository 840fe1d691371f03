//! The place of a project's bead files: which caller may name it, and that no two projects share it.
//!
//! Checks what a path refers to, not only its words. The directory may come later; each access opens it by the same
//! rules again.

use crate::bead_file::directory::BeadDirectory;
use crate::caller::Caller;
use crate::error::Error;
use crate::project::ProjectContext;
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::token::Role;
use arbiter_core::project::Project;
use arbiter_files::{ForeignError, Identity};
use std::path::{Path, PathBuf};
use tokio::sync::MutexGuard;

/// Checks the bead path that a project is to have, unless it has it already. The guard keeps other changes of such
/// paths waiting until this one is committed.
///
/// # Errors
/// [`Refusal::Forbidden`] when the caller may not name it, [`Refusal::Invalid`] when it leads over a link below a root
/// or into the data directory, and a conflict when it is another project's directory.
pub(crate) async fn check_change<'a>(
    shared: &'a ProjectContext,
    caller: &Caller,
    after: &Project,
    before: Option<&str>,
) -> Result<Option<MutexGuard<'a, ()>>, Error> {
    let Some(path) = after.beads_path.as_deref().filter(|path| Some(*path) != before) else {
        return Ok(None);
    };
    let roots = &shared.settings.bead_roots;
    let is_below = roots.iter().any(|root| Path::new(path).starts_with(root));
    if caller.authority.role != Role::Admin && !is_below {
        let detail = format!(
            "beads_path {path} lies below no root of bead_files.roots: only an administrator sets it"
        );
        return Err(Refusal::Forbidden(detail).into());
    }
    let data_directory = shared.store.path().parent().unwrap_or(Path::new("/"));
    let guard = shared.bead_path_lock.lock().await;
    let directory = |project: &ProjectId, path: &str| BeadDirectory::new(project, Path::new(path), roots);
    let place = look(&directory(&after.id, path), data_directory).await?;
    for id in shared.store.projects_with_files().await? {
        let Some(other) = shared.store.project(id).await?.filter(|other| other.id != after.id) else {
            continue;
        };
        let Some(taken) = other.beads_path.as_deref() else { continue };
        let is_same = taken == path
            || look(&directory(&other.id, taken), data_directory)
                .await
                .is_ok_and(|other| place.is_same_as(&other));
        if is_same {
            let owner = match caller.authority.can_access(other.id.as_str()) {
                true => format!("project {}", other.id),
                false => "another project".to_owned(),
            };
            let detail = format!("beads_path {path} is the directory of {owner}: one directory, one project");
            return Err(Refusal::conflict(ProblemCode::Conflict, detail).into());
        }
    }
    Ok(Some(guard))
}

/// Identities of a bead directory and its tree; empty while they are not there.
#[derive(Debug, Default)]
struct Place {
    tree: Option<Identity>,
    beads: Option<Identity>,
}

impl Place {
    fn is_same_as(&self, other: &Self) -> bool {
        let is_same = |one: Option<Identity>, other| one.is_some() && one == other;
        is_same(self.tree, other.tree) || is_same(self.beads, other.beads)
    }
}

/// Looks at what a path refers to.
async fn look(directory: &BeadDirectory, data_directory: &Path) -> Result<Place, Error> {
    let data_directory = data_directory.to_owned();
    let looked = directory.access(move |directory| look_now(directory, &data_directory)).await;
    let looked = looked.unwrap_or_else(Err);
    Ok(looked.map_err(|detail| Refusal::field("beads_path", detail))?)
}

fn look_now(directory: &BeadDirectory, data_directory: &Path) -> Result<Place, String> {
    let reason = |error: &ForeignError| format!("{} {}", directory.path().display(), error.reason());
    let tree = match directory.open_tree() {
        Ok(tree) => tree,
        Err(error) if error.is_missing() => return Ok(Place::default()),
        Err(error) => return Err(reason(&error)),
    };
    let data_directory: PathBuf = data_directory.canonicalize().unwrap_or_else(|_| data_directory.to_owned());
    if tree.path().starts_with(&data_directory) {
        return Err("must lie outside of the data directory".to_owned());
    }
    let beads = match directory.open() {
        Ok(beads) => Some(beads.identity().map_err(|error| reason(&error))?),
        Err(error) if error.is_missing() => None,
        Err(error) => return Err(reason(&error)),
    };
    Ok(Place { tree: Some(tree.identity().map_err(|error| reason(&error))?), beads })
}
