//! Several writers of one bead file against an oracle that knows every line.
//!
//! In each round this program and others change different fields of the same beads, in random order and in every way in
//! which programs write files. Afterwards both sides have all changes, lines without a reason are as they were, and
//! another pass changes nothing.

use crate::bead::files::line;
use crate::bead::files_shared::Shared;
use crate::harness::TIMEOUT;
use arbiter_core::kernel::time::Timestamp;
use arbiter_testkit::SplitMix64;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

const ROUNDS: u64 = 12;
const CHANGES: u64 = 5;

/// Fields of a bead that every reader has to find.
#[derive(Clone, Debug, Default)]
struct Known {
    title: String,
    priority: u64,
    notes: String,
    comments: BTreeSet<String>,
}

struct Model {
    shared: Shared,
    rng: SplitMix64,
    beads: BTreeMap<String, Known>,
    deleted: BTreeSet<String>,
    /// Lines that are no beads.
    kept: BTreeSet<String>,
    /// Fields that were changed in this round, and beads that this program changed.
    taken: BTreeSet<(String, &'static str)>,
    ours: BTreeSet<String>,
    count: u64,
}

fn id_of(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    value["id"].as_str().map(str::to_owned)
}

impl Model {
    async fn new(seed: u64) -> Self {
        let mut model = Self {
            shared: Shared::new("").await,
            rng: SplitMix64::new(seed),
            beads: BTreeMap::new(),
            deleted: BTreeSet::new(),
            kept: BTreeSet::new(),
            taken: BTreeSet::new(),
            ours: BTreeSet::new(),
            count: 0,
        };
        for _ in 0..4 {
            model.theirs_append();
        }
        model.shared.sync().await;
        model
    }

    fn below(&mut self, sides: usize) -> usize {
        (self.rng.next_u64() % sides as u64) as usize
    }

    fn word(&mut self) -> String {
        self.count += 1;
        format!("word {}", self.count)
    }

    /// A field of a bead that was not changed in this round.
    fn pick(&mut self, field: &'static str) -> Option<String> {
        let ids: Vec<String> = self.beads.keys().cloned().collect();
        let id = ids[self.below(ids.len())].clone();
        let is_free = !self.taken.contains(&(id.clone(), "all")) && self.taken.insert((id.clone(), field));
        is_free.then_some(id)
    }

    fn lines(&self) -> Vec<String> {
        self.shared.text().lines().map(str::to_owned).collect()
    }

    /// Writes the file as one of several programs.
    fn put(&mut self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        match self.below(2) {
            0 => self.shared.write(&text),
            _ => fs::write(self.shared.file(), text).unwrap(),
        }
    }

    fn append(&mut self, text: &str) {
        let mut file = OpenOptions::new().append(true).open(self.shared.file()).unwrap();
        file.write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    fn theirs_append(&mut self) {
        let (title, id) = (self.word(), format!("t-{}", self.count));
        self.append(&line(json!({"id": id, "title": title, "notes": "", "zeta": 1.50})));
        self.taken.insert((id.clone(), "all"));
        self.beads.insert(id, Known { title, priority: 2, ..Known::default() });
    }

    /// Writes the changed lines, unless the file is another one meanwhile.
    fn put_over(&mut self, before: &[String], lines: &[String]) -> bool {
        let is_same = self.lines() == before;
        if is_same {
            self.put(lines);
        }
        is_same
    }

    /// Changes one field of a bead: as a second line with its id, as a merge of branches leaves it, or in place.
    fn theirs_edit(&mut self, id: &str, field: &str, value: Value) {
        loop {
            let before = self.lines();
            // Of several lines, others change the one that counts.
            let time = |line: &String| {
                let line: Value = serde_json::from_str(line).unwrap();
                line["updated_at"].as_str().unwrap().parse::<Timestamp>().unwrap()
            };
            let own = (0..before.len()).filter(|at| id_of(&before[*at]).as_deref() == Some(id));
            let Some(at) = own.max_by_key(|at| (time(&before[*at]), *at)) else { return };
            let mut changed: Value = serde_json::from_str(&before[at]).unwrap();
            let time: Timestamp = changed["updated_at"].as_str().unwrap().parse().unwrap();
            changed["updated_at"] = json!(time.plus(Duration::from_secs(1)).to_string());
            changed[field] = value.clone();
            if self.below(4) == 0 {
                return self.append(&changed.to_string());
            }
            let mut lines = before.clone();
            lines[at] = changed.to_string();
            if self.put_over(&before, &lines) {
                return;
            }
        }
    }

    async fn change(&mut self) {
        let kind = self.below(10);
        match kind {
            0 => self.theirs_append(),
            1 => {
                let kept = json!({"_type": "memory", "key": self.word(), "value": 1.50}).to_string();
                self.append(&kept);
                self.kept.insert(kept);
            }
            2 => {
                let before = self.lines();
                let at = self.below(before.len());
                let mut lines = before.clone();
                lines.rotate_left(at);
                self.put_over(&before, &lines);
            }
            3 | 4 => {
                let (word, Some(id)) = (self.word(), self.pick("title")) else { return };
                self.beads.get_mut(&id).unwrap().title.clone_from(&word);
                if kind == 3 {
                    self.theirs_edit(&id, "title", json!(word));
                } else {
                    self.patch(&id, json!({"title": word})).await;
                }
            }
            5 | 6 => {
                let (priority, Some(id)) = (1 + self.below(4) as u64, self.pick("priority")) else { return };
                self.beads.get_mut(&id).unwrap().priority = priority;
                if kind == 5 {
                    self.theirs_edit(&id, "priority", json!(priority));
                } else {
                    self.patch(&id, json!({"priority": priority})).await;
                }
            }
            7 => {
                let (word, Some(id)) = (self.word(), self.pick("notes")) else { return };
                self.beads.get_mut(&id).unwrap().notes.clone_from(&word);
                self.theirs_edit(&id, "notes", json!(word));
            }
            8 => {
                let (word, Some(id)) = (self.word(), self.pick("comments")) else { return };
                self.beads.get_mut(&id).unwrap().comments.insert(word.clone());
                self.ours.insert(id.clone());
                self.shared.harness.create(&format!("beads/{id}/comments"), json!({"comment": word})).await;
            }
            _ => {
                let (title, id) = (self.word(), format!("own-{}", self.count));
                let new = json!({"id": id, "title": title, "project_id": "p", "priority": 2});
                self.shared.harness.create("beads", new).await;
                self.taken.insert((id.clone(), "all"));
                self.ours.insert(id.clone());
                self.beads.insert(id, Known { title, priority: 2, ..Known::default() });
            }
        }
    }

    async fn patch(&mut self, id: &str, fields: Value) {
        self.ours.insert(id.to_owned());
        let answer = self.shared.harness.ask("PATCH", &format!("beads/{id}"), Some(&fields)).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
    }

    async fn delete(&mut self) {
        let ids: Vec<String> = self.beads.keys().cloned().collect();
        let id = ids[self.below(ids.len())].clone();
        if self.taken.iter().any(|(taken, _)| *taken == id) {
            return;
        }
        self.beads.remove(&id);
        self.taken.insert((id.clone(), "all"));
        self.deleted.insert(id.clone());
        assert_eq!(self.shared.harness.ask("DELETE", &format!("beads/{id}"), None).await.status, 204);
    }

    async fn round(&mut self) {
        self.taken.clear();
        self.ours.clear();
        for _ in 0..CHANGES {
            self.change().await;
        }
        if self.below(3) == 0 {
            self.delete().await;
        }
        let theirs = self.lines();
        // What goes to a file that was replaced in that moment is found a little later.
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        loop {
            self.shared.sync().await;
            let Err(problem) = self.check(&theirs).await else { break };
            assert!(tokio::time::Instant::now() < deadline, "{problem}\n{}", self.shared.text());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let text = self.shared.text();
        let events = self.shared.harness.events(0).await.len();
        self.shared.sync().await;
        assert_eq!(self.shared.text(), text, "a pass without changes writes nothing");
        assert_eq!(self.shared.harness.events(0).await.len(), events);
    }

    async fn check(&self, theirs: &[String]) -> Result<(), String> {
        let now = self.lines();
        let mut by_id: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for line in &now {
            let value: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
            if let Some(id) = value["id"].as_str() {
                by_id.entry(id.to_owned()).or_default().push(value);
            }
        }
        let require = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
        for (id, known) in &self.beads {
            let bead = self.shared.harness.get(&format!("beads/{id}")).await;
            let lines = by_id.get(id).ok_or_else(|| format!("{id} is not in the file"))?;
            let newest = lines.iter().max_by_key(|line| line["updated_at"].to_string()).unwrap();
            let wanted = (json!(known.title), json!(known.priority));
            let found = |of: &Value| (of["title"].clone(), of["priority"].clone());
            require(found(&bead) == wanted, format!("{id} here: {bead}, not {known:?}"))?;
            require(found(newest) == wanted, format!("{id} in the file: {newest}, not {known:?}"))?;
            let notes = newest["notes"].as_str().unwrap_or_default();
            require(notes == known.notes, format!("notes of {id}: {newest}, not {known:?}"))?;
            for comment in &known.comments {
                require(
                    newest["comments"].to_string().contains(comment),
                    format!("{comment} of {id}: {newest}"),
                )?;
            }
        }
        for id in &self.deleted {
            require(
                by_id[id].iter().any(|line| line["status"] == "tombstone"),
                format!("no tombstone of {id}"),
            )?;
        }
        for kept in &self.kept {
            require(now.iter().filter(|line| *line == kept).count() == 1, format!("kept line {kept}"))?;
        }
        // A line of a bead that did not change here is as others left it.
        for line in theirs {
            let is_free =
                id_of(line).is_none_or(|id| !self.ours.contains(&id) && !self.deleted.contains(&id));
            require(!is_free || now.contains(line), format!("rewritten without reason: {line}"))?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn writers_of_a_bead_file_lose_and_rewrite_nothing() {
    for seed in 1..=4 {
        let mut model = Model::new(seed).await;
        for _ in 0..ROUNDS {
            model.round().await;
        }
    }
}
