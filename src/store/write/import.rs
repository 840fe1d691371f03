//! Import of many beads from a file in one transaction, with a report of every line that is not taken unchanged.

use crate::base::error::StoreError;
use crate::base::table;
use crate::base::table::Table;
use crate::base::unit_of_work::Write;
use crate::tables::bead_files::{self, FileMark};
use crate::tables::{beads, dependencies, leases, search};
use crate::write::import_edges::{self, PendingEdge};
use crate::write::readiness;
use crate::write::{import_comments, import_synced};
use arbiter_core::bead::file_fields::FileFields;
use arbiter_core::bead::merge::{MergeBase, MergeVerdict, effective_time, merge_list, verdict};
use arbiter_core::bead::readiness::Gate;
use arbiter_core::bead::{Bead, Status};
use arbiter_core::kernel::event::{NewEvent, Origin};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{BeadId, ProjectId};
use arbiter_core::kernel::record::{self, FieldChanges};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::json;
use std::collections::BTreeSet;

/// Dependency as written in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedEdge {
    /// Bead that it depends on; may be missing.
    pub depends_on: BeadId,
    pub kind: String,
    pub gate: Option<Gate>,
    /// Time and author of its creation.
    pub created: (Timestamp, String),
    /// Unknown fields of the file, as a JSON object.
    pub kept: Option<String>,
}

/// Comment as written in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedComment {
    pub id: String,
    pub author_id: String,
    pub text: String,
    pub created_at: Timestamp,
    /// Unknown fields of the file, as a JSON object.
    pub kept: Option<String>,
}

/// A bead of a file.
#[derive(Clone, Debug)]
pub struct ImportedBead {
    /// The line it stands on, from 1.
    pub line: u64,
    pub bead: Bead,
    pub edges: Vec<ImportedEdge>,
    pub comments: Vec<ImportedComment>,
    pub kept: Option<String>,
    /// True if the file says nothing of its time: it is older than everything.
    pub is_undated: bool,
    /// Set for a line of the project's own file, which is merged with its bead.
    pub synced: Option<SyncedLine>,
    created: ImportEvent,
    values: Vec<Value>,
}

/// A line of a project's own file, for a merge.
#[derive(Clone, Debug, Default)]
pub struct SyncedLine {
    /// The text of the bead's lines; `None` if the file does not have the line.
    pub text: Option<String>,
    /// The line when file and bead last agreed; without one, the newer side counts.
    pub before: Option<LineBefore>,
    /// Pending decisions that the line names.
    pub gates: Vec<String>,
    /// True if the line is only to become the base of later merges.
    pub is_base: bool,
    /// True for another line of a bead in the same file: the lists of both are joined.
    pub joins: bool,
}

/// A former line.
#[derive(Clone, Debug)]
pub struct LineBefore {
    pub fields: FileFields,
    /// True if the bead of that moment is stored; otherwise the bead was as the line says.
    pub is_stored: bool,
}

/// An event of an import.
#[derive(Clone, Debug)]
pub(crate) enum ImportEvent {
    Event(NewEvent),
    /// One whose data are written already: the event without them, and their text.
    Written(NewEvent, String),
}

impl From<NewEvent> for ImportEvent {
    fn from(event: NewEvent) -> Self {
        Self::Event(event)
    }
}

impl ImportedBead {
    /// Creates a bead of a file. The reader of the file also builds the event and the values, to relieve the writer.
    pub fn new(
        line: u64,
        bead: Bead,
        edges: Vec<ImportedEdge>,
        comments: Vec<ImportedComment>,
        kept: Option<String>,
    ) -> Self {
        let mut created = record::created_event(&bead);
        if let Some(data) = created.data.as_object_mut().filter(|_| !edges.is_empty() || !comments.is_empty())
        {
            let told: Vec<_> =
                edges.iter().map(|edge| json!({"depends_on": edge.depends_on, "type": edge.kind})).collect();
            data.insert("dependencies".to_owned(), json!(told));
            data.insert("comments".to_owned(), json!(comments.len()));
        }
        let text = serde_json::to_string(&created.data).unwrap_or_default();
        created.data = serde_json::Value::Null;
        let values = bead.values();
        let created = ImportEvent::Written(created, text);
        Self { line, bead, edges, comments, kept, is_undated: false, synced: None, created, values }
    }
}

impl ImportedBead {
    /// Returns the time by which the line is compared with a stored bead.
    pub(crate) fn theirs_at(&self) -> Timestamp {
        if self.is_undated { Timestamp::from_millis(0) } else { self.bead.updated_at }
    }
}

/// One thing that a file holds.
#[derive(Clone, Debug)]
pub enum Imported {
    Bead(Box<ImportedBead>),
    Edge(BeadId, ImportedEdge),
    Line(String),
    Refused(u64, String),
    /// The file cannot be read any further; nothing of it is taken.
    Broken(String),
}

/// Options of an import.
pub struct ImportOrder {
    pub project_id: ProjectId,
    pub at: Timestamp,
    pub actor: String,
    pub origin: Option<Origin>,
    pub allow_stale: bool,
    pub dry_run: bool,
    pub strict: bool,
    pub content: Box<dyn Iterator<Item = Imported> + Send>,
}

/// Report of an import. Lists of ids are in the file's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    pub created: u64,
    pub updated: u64,
    /// Beads that are here as the file has them.
    pub unchanged: u64,
    /// Lines that are no beads and are kept.
    pub kept_lines: u64,
    /// Beads that were changed.
    pub updated_ids: Vec<String>,
    /// Beads of the same second as ours, which stayed as they are but for lists.
    pub tie_kept_local_ids: Vec<String>,
    /// Beads that the file has in an older state.
    pub stale_skipped_ids: Vec<String>,
    /// Beads that an agent works on here.
    pub held_ids: Vec<String>,
    /// Beads of these ids are another project's.
    pub other_project_ids: Vec<String>,
    /// Beads of these ids were deleted here.
    pub deleted_ids: Vec<String>,
    /// Dependencies on missing beads: kept, but not blocking.
    pub dangling: Vec<(String, String)>,
    /// Dependencies that would close a cycle: kept, but not blocking, each with its path.
    pub cycles: Vec<String>,
    /// Lines that could not be taken, and why: the first 1000 of them.
    pub refused: Vec<(u64, String)>,
    /// Lines that could not be taken beyond those.
    pub refused_omitted: u64,
    /// Fields that were changed here and in the file: bead and field. The value that lost is a comment.
    pub conflicts: Vec<(String, String)>,
}

/// The most refused lines, and the most warnings, that a report lists.
pub const MAX_REPORTED_LINES: usize = 1_000;

/// Appends an event and returns its number.
pub(crate) type EmitFn<'a> = dyn FnMut(ImportEvent) -> Result<u64, StoreError> + 'a;

/// Reads everything in. The caller ends the transaction.
pub(crate) fn run(
    connection: &Connection,
    order: &mut ImportOrder,
    emit: &mut EmitFn<'_>,
) -> Result<ImportReport, StoreError> {
    if !table::exists(connection, "projects", order.project_id.as_str())? {
        return Err(Refusal::not_found("project", order.project_id.as_str()).into());
    }
    let first_new: i64 =
        connection.query_row("SELECT coalesce(max(rowid), 0) FROM beads", [], |row| row.get(0))?;
    let mut import = Import {
        connection,
        at: order.at,
        project: order.project_id.clone(),
        allow_stale: order.allow_stale,
        report: ImportReport::default(),
        edges: Vec::new(),
        seeds: BTreeSet::new(),
    };
    for item in order.content.by_ref() {
        match item {
            Imported::Bead(row) => import.bead(*row, emit)?,
            Imported::Edge(id, edge) => {
                import.edges.push(PendingEdge { bead_id: id, edge, has_own_event: true })
            }
            Imported::Line(line) => {
                import.report.kept_lines +=
                    u64::from(bead_files::keep_line(connection, order.project_id.as_str(), &line)?);
            }
            Imported::Refused(line, why) if import.report.refused.len() < MAX_REPORTED_LINES => {
                import.report.refused.push((line, why));
            }
            Imported::Refused(..) => import.report.refused_omitted += 1,
            Imported::Broken(why) => return Err(Refusal::field("file", why).into()),
        }
    }
    search::index_new(connection, first_new)?;
    let edges = std::mem::take(&mut import.edges);
    import_edges::add(connection, edges, &mut import.seeds, &mut import.report, emit)?;
    let Import { report, seeds, .. } = import;
    let strict = order.strict && !(report.refused.is_empty() && report.cycles.is_empty());
    if strict {
        let first = report.refused.first().map(|(line, why)| format!("line {line}: {why}"));
        let first = first.or_else(|| report.cycles.first().cloned()).unwrap_or_default();
        return Err(Refusal::field("file", format!("not every line can be taken: {first}")).into());
    }
    let newly_ready = readiness::refresh_new(connection, first_new, seeds, order.at)?;
    for one in newly_ready {
        let ready = NewEvent {
            kind: EventType::BeadReady,
            project_id: Some(one.project_id),
            subject: one.id.to_string(),
            data: json!({}),
        };
        emit(ready.into())?;
    }
    Ok(report)
}

pub(crate) struct Import<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) at: Timestamp,
    pub(crate) project: ProjectId,
    allow_stale: bool,
    pub(crate) report: ImportReport,
    pub(crate) edges: Vec<PendingEdge>,
    /// Beads whose readiness has to be computed.
    pub(crate) seeds: BTreeSet<BeadId>,
}

impl Import<'_> {
    fn bead(&mut self, row: ImportedBead, emit: &mut EmitFn<'_>) -> Result<(), StoreError> {
        let id = row.bead.id.as_str();
        match table::get::<Bead>(self.connection, id)? {
            None => return self.create(row, emit),
            Some(ours) if ours.project_id != self.project => {
                self.report.other_project_ids.push(id.to_owned());
            }
            Some(ours) => match row.synced.clone() {
                Some(line) => import_synced::update(self, &ours, row, &line, emit)?,
                None => return self.update(&ours, row, emit),
            },
        }
        Ok(())
    }

    fn create(&mut self, row: ImportedBead, emit: &mut EmitFn<'_>) -> Result<(), StoreError> {
        let ImportedBead { bead, edges, comments, kept, synced, created, values, .. } = row;
        match beads::insert(self.connection, &bead, &values) {
            // No row has the id, so one had it once.
            Err(StoreError::Refused(Refusal::Exists { id, .. })) => {
                self.report.deleted_ids.push(id);
                return Ok(());
            }
            outcome => outcome?,
        }
        let seen = seen(&bead, &edges);
        let mark = FileMark { updated_at: bead.updated_at, revision: bead.revision, seen, kept };
        bead_files::put(self.connection, bead.id.as_str(), &mark)?;
        import_comments::insert(self.connection, &bead.id, &comments)?;
        if let Some(line) = &synced {
            import_synced::created(self, &bead, &edges, comments.len(), line)?;
        }
        emit(created)?;
        let wanted = edges.into_iter().map(|edge| PendingEdge {
            bead_id: bead.id.clone(),
            edge,
            has_own_event: false,
        });
        self.edges.extend(wanted);
        self.report.created += 1;
        Ok(())
    }

    fn update(&mut self, ours: &Bead, row: ImportedBead, emit: &mut EmitFn<'_>) -> Result<(), StoreError> {
        let theirs_at = row.theirs_at();
        let ImportedBead { bead: theirs, edges, comments, kept, .. } = row;
        let id = ours.id.to_string();
        let mark = bead_files::get(self.connection, &id)?;
        let base = mark.as_ref().map(|mark| mark.seen.clone()).unwrap_or_default();
        let since = mark.as_ref().map(|mark| (mark.updated_at, mark.revision));
        let mut winner = verdict(effective_time(ours, since), theirs_at);
        if winner == MergeVerdict::Stale && self.allow_stale {
            winner = MergeVerdict::File;
        }
        let after = ours.imported(&theirs, winner, &base);
        let change = FieldChanges::between(ours, &after, Some("imported"));
        if leases::get(self.connection, &id)?.is_some() && !change.is_noop() {
            self.report.held_ids.push(id);
            return Ok(());
        }
        let if_file_wins = ours.imported(&theirs, MergeVerdict::File, &base);
        let differs = !FieldChanges::between(&after, &if_file_wins, None).is_noop();
        if winner == MergeVerdict::Stale {
            if differs {
                self.report.stale_skipped_ids.push(id);
            } else {
                self.report.unchanged += 1;
            }
            return Ok(());
        }
        let mut has_changed = !change.is_noop();
        let mut revision = ours.revision;
        if has_changed {
            let happenings = [change];
            let next = record::apply_all(ours, &happenings, self.at);
            revision = next.revision;
            beads::write(self.connection, &Write::Update { row: next.clone(), expected: ours.revision })?;
            for happening in &happenings {
                emit(record::event(&next, happening).into())?;
            }
            if ours.status != Status::Closed && next.status == Status::Closed {
                let data = json!({"reason": next.close_reason});
                let completed = NewEvent::in_project(EventType::BeadCompleted, &next.project_id, &id, data);
                emit(completed.into())?;
            }
            self.touch(ours)?;
        }
        has_changed |= self.merge_edges(&ours.id, edges.clone(), &base, emit)?;
        has_changed |= import_comments::add(self, &ours.id, &comments, emit)? > 0;
        if differs {
            self.report.tie_kept_local_ids.push(id.clone());
        }
        if has_changed {
            self.report.updated += 1;
            self.report.updated_ids.push(id.clone());
        } else {
            self.report.unchanged += 1;
        }
        // After a tie that kept our words the file does not say what is so.
        if !differs {
            let seen = seen(&theirs, &edges);
            let updated_at = theirs.updated_at;
            bead_files::put(self.connection, &id, &FileMark { updated_at, revision, seen, kept })?;
        }
        Ok(())
    }

    /// Notes what the change of a bead's row may bear on.
    fn touch(&mut self, bead: &Bead) -> Result<(), StoreError> {
        readiness::collect_neighbours(self.connection, bead, &mut self.seeds)
    }

    /// Removes the dependencies that the file has lost, and wants those that it has won. Says whether there are any.
    fn merge_edges(
        &mut self,
        id: &BeadId,
        theirs: Vec<ImportedEdge>,
        base: &MergeBase,
        emit: &mut EmitFn<'_>,
    ) -> Result<bool, StoreError> {
        let ours: Vec<String> = dependencies::depends_on(self.connection, id.as_str())?
            .into_iter()
            .map(|(target, _)| target.to_string())
            .collect();
        let targets: Vec<String> = theirs.iter().map(|edge| edge.depends_on.to_string()).collect();
        let merged = merge_list(&ours, &targets, &base.depends_on);
        let lost: Vec<&String> = ours.iter().filter(|target| !merged.contains(target)).collect();
        for target in &lost {
            let edge =
                arbiter_core::bead::edit::Edge::new(id.clone(), BeadId::from_trusted(target.as_str()), "");
            dependencies::remove(self.connection, &edge)?;
            let data = json!({"depends_on": target});
            let removed =
                NewEvent::in_project(EventType::BeadDependencyRemoved, &self.project, id.as_str(), data);
            emit(removed.into())?;
            self.seeds.insert(id.clone());
            readiness::waiters(self.connection, target, &mut self.seeds)?;
        }
        let won: Vec<ImportedEdge> = theirs
            .into_iter()
            .filter(|edge| {
                let target = edge.depends_on.as_str();
                merged.iter().any(|known| known == target) && !ours.iter().any(|known| known == target)
            })
            .collect();
        let has_changed = !(lost.is_empty() && won.is_empty());
        self.edges.extend(won.into_iter().map(|edge| PendingEdge {
            bead_id: id.clone(),
            edge,
            has_own_event: true,
        }));
        Ok(has_changed)
    }
}

pub(crate) fn seen(bead: &Bead, edges: &[ImportedEdge]) -> MergeBase {
    MergeBase {
        labels: bead.tags.clone(),
        depends_on: edges.iter().map(|edge| edge.depends_on.to_string()).collect(),
    }
}
