//! Output of the commands: confirmations, tables, records, and the field names of `--json`.

use super::{field_names, freeze_said};
use crate::harness::{Harness, KEY};
use arbiter_testkit::{Reply, Script, ScriptedProvider};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Measured values, which differ from run to run.
const MEASURED: &[(&str, &str)] = &[
    (r"/tmp/[^ /]+/data", "/tmp/data"),
    // Latencies, with the padding behind them.
    (r"(?m)^((?:\w+_)?latency(?:_ewma)?_ms +)[0-9.]+$", "${1}[ms]"),
    (r#""latency_ms":\d+"#, "\"latency_ms\":[ms]"),
    (r"(?m)(  0\.004)  +\d+$", "${1}  [ms]"),
    (r"(USD) +MS +STARTED", "$1    MS    STARTED"),
    (r"(  0\.004)  +\d+  +(2026)", "$1  [ms]  $2"),
    (r"(scripted-model  )\d+ +(2026)", "${1}[ms]        $2"),
    (r"(?m)^(uptime_s +)\d+$", "${1}[s]"),
    // Actors of entities come when they are addressed and go when they are idle.
    (r"(?m)^(actors\.\w+ +)\d+$", "${1}[count]"),
];

/// Command lines and their output.
#[derive(Default)]
struct Transcript(String);

impl Transcript {
    /// Runs a command and appends its output.
    async fn run(&mut self, harness: &Harness, words: &[&str], stdin: &str) {
        let ended = harness.cli_with(words, stdin).await;
        let quoted = |word: &&str| if word.contains(' ') { format!("{word:?}") } else { (*word).to_owned() };
        let line = words.iter().map(quoted).collect::<Vec<_>>().join(" ");
        writeln!(self.0, "$ arbiter {line}").unwrap();
        if ended.code != Some(0) {
            writeln!(self.0, "exit code {}", ended.code.unwrap()).unwrap();
        }
        for (stream, text) in [("", &ended.stdout), ("stderr: ", &ended.stderr)] {
            text.lines().for_each(|line| writeln!(self.0, "{stream}{line}").unwrap());
        }
        self.0.push('\n');
    }

    /// Runs one command per line. Blanks separate words; an underscore stands for a blank within a word.
    async fn run_all(&mut self, harness: &Harness, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<String> = line.split(' ').map(|word| word.replace('_', " ")).collect();
            self.run(harness, &words.iter().map(String::as_str).collect::<Vec<_>>(), "").await;
        }
    }
}

/// No heartbeat but the first changes a provider while commands run.
const CALM: [(&str, &str); 1] = [("ARBITER_PROVIDERS__HEARTBEAT_INTERVAL_MS", "86400000")];

const POSITIONS: &str = r#"{"positions": [
    {"role_name": "lead", "persona_path": "team/lead", "required": true, "max_instances": 1},
    {"role_name": "hand", "max_instances": 0, "reports_to": "lead"}
]}"#;

/// Creates at least one entity of each kind and returns the transcript.
async fn company(harness: &Harness, provider: &ScriptedProvider) -> String {
    let mut made = Transcript::default();
    let key = format!("{KEY}\n");
    made.run_all(
        harness,
        "project add House --id house --git-repo https://example.org/house.git --branch main",
    )
    .await;
    made.run_all(harness, "project add Garden --id garden --max-parallel 2 --perpetual").await;
    let add = "key add Spare --id spare --description for_later --host api.example.org --api-key-stdin";
    let words: Vec<&str> = add.split(' ').collect();
    made.run(harness, &words, &key).await;
    let url = provider.url();
    let add = [
        "provider",
        "add",
        "Main",
        "--id",
        "main",
        "--type",
        "custom",
        "--api-key-stdin",
        "--endpoint",
        &url,
    ];
    made.run(harness, &add, &key).await;
    harness.wait_until("providers/main", |provider| provider["status"] == "active").await;
    let prices = json!({"price_input_per_mtok": 2.0, "price_output_per_mtok": 4.0});
    assert_eq!(harness.ask("PATCH", "providers/main", Some(&prices)).await.status, 200);

    let persona = "# Team lead\n\nAutonomy: semi\n\n## Mission\n\nKeeps the team together.\n";
    made.run(harness, &["persona", "add", "team/lead", "--from", "-"], persona).await;
    made.run_all(
        harness,
        "agent add Builder --id builder --provider main --project house --role builder --description It_builds
         agent add Script --id script --kind external --project house
         bead add Lay_the_ground --project house --id ground --type chore --tag stone --acceptance it_is_flat",
    )
    .await;
    harness.wait_for_bead_status("ground", "closed").await;
    harness.wait_until("agents/builder", |agent| agent["status"] == "idle").await;
    made.run_all(
        harness,
        "agent shutdown builder --reason the_day_is_over
         bead add Build_walls --project house --id walls --priority 1 --description Four_of_them. --blocked-by ground
         bead add Roof --project house --id roof --blocked-by walls
         bead add Inside --project house --id inside --type epic
         bead add Paint --project house --id paint --parent inside --assigned-to script
         bead add Windows --project house --id windows
         bead add Pool --project house --id pool
         bead add Tree --project garden --id tree --defer-until 2099-01-01T00:00:00Z
         bead close pool --reason not_wanted
         bead block windows --reason no_glass
         bead comment walls Take_the_big_ones.
         bead claim walls --agent script
         lock acquire house src/wall.rs docs/wall.md --agent script --bead walls
         decision cancel nowhere --reason none
         token add Watcher --role viewer --project house
         budget set total month 100
         budget set project:house day 5.5",
    )
    .await;
    let question = json!({"id": "colour", "project_id": "house", "bead_id": "paint", "question": "Which colour?",
        "options": ["red", "blue"], "timeout": "never"});
    harness.create("decisions", question).await;
    let question = json!({"id": "size", "project_id": "house", "question": "How big?", "timeout": "never"});
    harness.create("decisions", question).await;
    made.run_all(harness, "decision decide size huge --rationale there_is_space").await;
    made.run(harness, &["project", "org-chart", "garden", "--set", "-"], POSITIONS).await;
    made.run_all(harness, "project park garden winter").await;
    made.0
}

/// Commands that only read.
const SHOWING: &str = "
    agent list
    agent show builder
    audit verify
    bead export --project house --output -
    bead graph --project house
    bead graph --project house --format dot
    bead list
    bead list --project house --status open
    bead ready
    bead show ground
    bead show roof
    bead show walls
    bead why ground
    bead why paint
    bead why roof
    bead why tree
    bead why walls
    bead why windows
    budget list
    config show
    decision list
    decision show colour
    decision show size
    events list
    key list
    lock list
    persona list
    persona show team/lead
    project list
    project org-chart garden
    project show garden
    project show house
    provider list
    provider show main
    provider usage main
    run list
    status
    temporal status
    token list
    usage --by agent
    usage --by bead
    usage --by model
    usage --by project
    usage --by provider
    usage --by token
    vault status
    bead show nowhere
    run show nowhere
";

/// Starts a server with a model that always gives the same answer, and fills it.
async fn staged() -> (Harness, ScriptedProvider, String) {
    let script = Script::always(Reply::text("The ground is flat.").with_usage(1_000, 500));
    let provider = ScriptedProvider::start(script.requiring_key(KEY));
    let harness = Harness::with(&CALM).await;
    let made = company(&harness, &provider).await;
    (harness, provider, made)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_of_commands_is_as_frozen() {
    let (harness, _provider, made) = staged().await;
    freeze_said("commands_that_act", &made, MEASURED);
    let run = harness.get("runs").await[0]["id"].as_str().unwrap().to_owned();
    let mut shown = Transcript::default();
    shown.run_all(&harness, SHOWING).await;
    shown.run(&harness, &["run", "show", &run], "").await;
    freeze_said("commands_that_show", &shown.0, MEASURED);

    let mut fields: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in SHOWING.lines().map(str::trim).chain([format!("run show {run}").as_str()]) {
        let words: Vec<&str> = line.split(' ').chain(["--json"]).collect();
        let ended = harness.cli(&words).await;
        let Ok(shown) = serde_json::from_str::<Value>(&ended.stdout) else { continue };
        // The graph is a map by id.
        let names = field_names(&shown)
            .into_iter()
            .filter(|name| !name.starts_with("beads.") || name.contains("walls"));
        fields.entry(words[..2].join(" ")).or_default().extend(names);
    }
    let lines = |(command, names): (String, BTreeSet<String>)| {
        let names: String = names.iter().map(|name| format!("{name}\n")).collect();
        format!("$ arbiter {command} --json\n{names}\n")
    };
    let fields: String = fields.into_iter().map(lines).collect();
    freeze_said("fields_of_json", &fields, MEASURED);
}
