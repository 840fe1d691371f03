//! Cost of vault operations compared with their key derivations: unlock, first and repeated reads of keys,
//! change of the password. `cargo bench --bench vault`.
//!
//! The derivation is timed between the operations of each round, so that other load on the machine slows both.

use arbiter::core::kernel::ids::KeyId;
use arbiter::core::kernel::time::Timestamp;
use arbiter_testkit::{Report, median, ms};
use arbiter_vault::{Iterations, NewEntry, Vault};
use secrecy::SecretString;
use sha2::Sha256;
use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Number of keys in the vault.
const KEYS: usize = 50;
/// Number of rounds; the median counts.
const ROUNDS: usize = 3;
/// Reads of a key that is already derived.
const REPEATED: u32 = 10_000;
const PASSWORD: &str = "correct horse battery staple";

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let home = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o700)).tempdir()?;
    let path = home.path().join("keys.json");
    fill(&path)?;
    let mut table = Table::default();
    for _ in 0..ROUNDS {
        measure_round(&path, &mut table)?;
    }
    let mut report = Report::new();
    let rounds = Iterations::DEFAULT.get();
    report.row(&format!("one derivation, {rounds} rounds"), table.median_text("raw"), "1.00 x", "-");
    // Least number of derivations of each operation.
    for (name, derivations, reach) in [
        ("unlock", 1, "300 ms"),
        ("first use of one key", 1, "200 ms"),
        ("unlock and first use of 50 keys", KEYS + 1, "-"),
        ("change of password, 50 keys", 2 * KEYS + 2, "-"),
    ] {
        let ratio = table.median_of(name) / table.median_of("raw") / derivations as f64;
        let ratio = format!("{ratio:.2} x of {derivations}");
        report.row(name, table.median_text(name), ratio, reach);
    }
    let again = table.median_of("repeated use");
    let share = format!("1/{:.0}", table.median_of("raw") / again);
    report.row("repeated use of a key", format!("{:.1} us", again * 1e6), share, "1 ms");
    report.print("cargo bench --bench vault");
    Ok(())
}

/// Times of each operation, in seconds.
#[derive(Default)]
struct Table(Vec<(&'static str, f64)>);

impl Table {
    fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let outcome = work();
        self.0.push((name, started.elapsed().as_secs_f64()));
        outcome
    }

    fn median_of(&self, name: &str) -> f64 {
        median(self.0.iter().filter(|(known, _)| *known == name).map(|(_, seconds)| *seconds).collect())
    }

    fn median_text(&self, name: &str) -> String {
        ms(Duration::from_secs_f64(self.median_of(name)))
    }
}

fn password() -> SecretString {
    SecretString::from(PASSWORD)
}

fn id(number: usize) -> KeyId {
    KeyId::from_trusted(format!("key_{number}"))
}

fn open(path: &Path) -> Outcome<Vault> {
    Ok(Vault::open(path.to_owned(), Iterations::DEFAULT)?)
}

fn fill(path: &Path) -> Outcome<()> {
    let mut vault = open(path)?;
    vault.unlock(password())?;
    for number in 0..KEYS {
        let entry = NewEntry {
            id: id(number),
            name: format!("Provider {number}"),
            description: String::new(),
            purpose: "provider".to_owned(),
            allowed_hosts: vec!["api.example.com".to_owned()],
        };
        vault.create(entry, SecretString::from(format!("sk-{number:0>48}")), Timestamp::default())?;
    }
    Ok(())
}

fn derive(table: &mut Table) {
    for salt in 0..4_u8 {
        let mut key = [0; 32];
        table.time("raw", || {
            pbkdf2::pbkdf2_hmac::<Sha256>(
                PASSWORD.as_bytes(),
                &[salt; 32],
                Iterations::DEFAULT.get(),
                &mut key,
            );
        });
        std::hint::black_box(key);
    }
}

fn measure_round(path: &Path, table: &mut Table) -> Outcome<()> {
    let host = Some("api.example.com");
    derive(table);
    let mut vault = open(path)?;
    let started = Instant::now();
    table.time("unlock", || vault.unlock(password()))?;
    table.time("first use of one key", || vault.get(&id(0), host))?;
    for number in 1..KEYS {
        vault.get(&id(number), host)?;
    }
    table.0.push(("unlock and first use of 50 keys", started.elapsed().as_secs_f64()));
    derive(table);
    let started = Instant::now();
    for _ in 0..REPEATED {
        std::hint::black_box(vault.get(&id(7), host)?);
    }
    table.0.push(("repeated use", started.elapsed().as_secs_f64() / f64::from(REPEATED)));
    // The cached keys do not help: the check of the old password derives, and each entry derives twice.
    table.time("change of password, 50 keys", || {
        vault.change_password(password(), password(), Iterations::DEFAULT, Timestamp::default())
    })?;
    derive(table);
    Ok(())
}
