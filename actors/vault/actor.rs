//! The vault's actor: who may unlock it, who uses which key and why.
//!
//! Owns the order "audit first, key then" and the pace of wrong passwords. Talks to the key file on
//! blocking threads and to the store. What it does with entries is in `vault_keys`, with passwords in
//! `vault_passwords`, with whole files in `vault_transfer`. Restart: at once; the opened file outlives the
//! actor, so that its failure neither locks the vault nor loses a key.

use crate::actor_kind::ActorKind;
use crate::caller::Caller;
use crate::error::Error;
use crate::error::Reply;
use crate::runtime::cell::{Behavior, BehaviorContext};
use crate::vault::Unlocked;
use crate::vault::VaultContext;
use crate::vault::open_vault::RolledBack;
use crate::vault::throttle::Throttle;
use crate::vault::transfer::ImportedKeys;
use crate::vault::unfinished;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{KeyId, ProviderId};
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::state_machine::StateMachine;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::vault::{Status, Trigger};
use arbiter_store::{Change, Unit};
use arbiter_vault::{DraftChange, EntryInfo, Iterations, OnConflict, Rewrite, UnlockOutcome as VaultUnlock};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Time for which a recorded use of a key covers further uses.
const GRANT: Duration = Duration::from_secs(60);
/// The name of the timer that locks an idle vault.
const IDLE: &str = "idle";
/// Subject of events about the vault itself.
const VAULT: &str = "vault";

/// A use of a key: its purpose, user and destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyUse {
    pub(crate) key_id: KeyId,
    /// Holder of the key: an agent, or a heartbeat.
    pub(crate) holder: String,
    pub(crate) host: String,
    pub(crate) purpose: &'static str,
}

/// Command of the vault's actor.
pub(crate) enum Command {
    Unlock {
        caller: Caller,
        password: SecretString,
        answer: Reply<Unlocked>,
    },
    Lock {
        caller: Caller,
        answer: Reply<()>,
    },
    AcceptRollback {
        caller: Caller,
        answer: Reply<()>,
    },
    ChangePassword {
        caller: Caller,
        old: SecretString,
        new: SecretString,
        iterations: Iterations,
        answer: Reply<()>,
    },
    Rewrapped(Box<Rewrite>),
    /// Changes a key and everything else in the unit.
    ChangeKey {
        unit: Box<Unit>,
        change: DraftChange,
        value: SecretString,
        answer: Reply<EntryInfo>,
    },
    /// Deletes a key and commits everything else in the unit, such as the end of its owner.
    Delete {
        unit: Box<Unit>,
        id: KeyId,
        owner: Option<ProviderId>,
        answer: Reply<()>,
    },
    RecoverDrafts,
    Use {
        wanted: KeyUse,
        answer: Reply<SecretString>,
    },
    Export {
        caller: Caller,
        password: SecretString,
        new: Option<SecretString>,
        ids: Option<Vec<KeyId>>,
        answer: Reply<Vec<u8>>,
    },
    Import {
        caller: Caller,
        file: Vec<u8>,
        password: SecretString,
        on_conflict: OnConflict,
        answer: Reply<ImportedKeys>,
    },
    Idle,
}

/// The vault's actor.
pub(crate) struct VaultActor {
    pub(crate) context: BehaviorContext<Self>,
    pub(crate) grants: HashMap<KeyUse, Timestamp>,
    pub(crate) throttle: Throttle,
}

impl Behavior for VaultActor {
    type Command = Command;
    type Host = VaultContext;
    const KIND: ActorKind = ActorKind::Vault;

    fn new(context: BehaviorContext<Self>) -> Self {
        Self { context, grants: HashMap::new(), throttle: Throttle::default() }
    }

    async fn start(&mut self) {}

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Unlock { caller, password, answer } => {
                answer.with(self.unlock(&caller, password)).await;
            }
            Command::Lock { caller, answer } => {
                answer.with(self.lock(&caller, "locked by hand")).await;
            }
            Command::AcceptRollback { caller, answer } => {
                answer.with(self.accept_rollback(&caller)).await;
            }
            Command::ChangePassword { caller, old, new, iterations, answer } => {
                answer.with(self.change_password(&caller, old, new, iterations)).await;
            }
            Command::Rewrapped(rewrite) => self.install_rewrapped(*rewrite).await,
            Command::ChangeKey { unit, change, value, answer } => {
                answer.with(self.change(*unit, change, value)).await;
            }
            Command::Delete { unit, id, owner, answer } => {
                answer.with(self.delete(*unit, id, owner.as_ref())).await;
            }
            Command::RecoverDrafts => self.recover().await,
            Command::Use { wanted, answer } => {
                answer.with(self.use_key(wanted)).await;
            }
            Command::Export { caller, password, new, ids, answer } => {
                answer.with(self.export(&caller, password, new, ids)).await;
            }
            Command::Import { caller, file, password, on_conflict, answer } => {
                answer.with(self.import(&caller, file, password, on_conflict)).await;
            }
            Command::Idle => {
                if let Err(error) = self.lock(&Caller::system(), "idle").await {
                    tracing::warn!(%error, "the idle vault could not be locked");
                    if self.status() == Status::Unlocked {
                        self.context.timers.set_retry(IDLE, Command::Idle);
                    }
                }
            }
        }
    }
}

impl VaultActor {
    fn status(&self) -> Status {
        self.context.shared.open_vault.snapshot().status
    }

    /// Keys are used and entries changed only in an open vault whose file is the newest one seen.
    pub(crate) fn require_open(&self) -> Result<(), Error> {
        self.context.shared.open_vault.snapshot().check_open()
    }

    /// A unit of this caller's, to be filled with events about the vault.
    pub(crate) fn unit(&self, caller: &Caller) -> Unit {
        caller.unit_again(self.context.shared.clock.now(), "vault")
    }

    pub(crate) async fn commit(&self, unit: Unit) -> Result<(), Error> {
        self.context.shared.store.commit(unit).await?;
        Ok(())
    }

    /// Tells of the vault itself.
    pub(crate) async fn tell(&self, caller: &Caller, kind: EventType, data: Value) -> Result<(), Error> {
        let mut unit = self.unit(caller);
        unit.emit(NewEvent::of(kind, VAULT, data));
        self.commit(unit).await
    }

    /// Writes down that this generation was seen. What it says about is done already, so a store that
    /// cannot note it now only means that a later look notices less.
    pub(crate) async fn record_generation(&self, generation: u64) {
        let shared = &self.context.shared;
        let mut unit = Unit::new(shared.clock.now(), "system", "vault");
        unit.change(Change::RecordVaultGeneration(generation));
        if let Err(error) = self.commit(unit).await {
            tracing::warn!(%error, generation, "the key file's generation could not be noted");
        }
    }

    async fn unlock(&mut self, caller: &Caller, password: SecretString) -> Result<Unlocked, Error> {
        let (shared, now) = (Arc::clone(&self.context.shared), self.context.shared.clock.now());
        let status = self.status();
        let trigger = if status == Status::Uninitialized { Trigger::Create } else { Trigger::Unlock };
        if status == Status::Unlocked {
            return Err(Refusal::conflict(ProblemCode::Transition, "the vault is unlocked already").into());
        }
        status.step("keys", trigger)?;
        self.throttle.admit(now)?;
        // Known before the vault opens, so that there is no moment in which an older file counts.
        let seen = shared.store.vault_generation().await?.unwrap_or(0);
        shared.open_vault.expect_generation(seen);
        let opened = shared.open_vault.work(&shared, move |vault| {
            // A file that is put back may be blank, so that this creates the vault as well.
            if trigger == Trigger::Create || vault.is_missing() {
                vault.require_above(seen);
            }
            Ok((vault.unlock(password)?, vault.generation()))
        });
        let opened = opened.await;
        let (opened, generation) = self.throttle.record_attempt(opened, now)?;
        let created = matches!(opened, VaultUnlock::Created);
        if let VaultUnlock::Opened { unreadable } = &opened
            && !unreadable.is_empty()
        {
            let ids: Vec<&str> = unreadable.iter().map(KeyId::as_str).collect();
            tracing::warn!(keys = ids.join(", "), "the password does not open these keys; they are kept");
        }
        let rolled_back = shared.open_vault.snapshot().rolled_back();
        let mut data = json!({"created": created});
        if let Some(RolledBack { seen, found }) = rolled_back {
            tracing::warn!(
                seen,
                found,
                "an older key file was put back; no key is used until that is accepted"
            );
            data["rolled_back"] = json!({"seen": seen, "found": found});
        }
        let unfinished = match rolled_back {
            None if !created => self.unfinished(generation).await,
            _ => Ok(Vec::new()),
        };
        let unfinished = match unfinished {
            Ok(unfinished) => unfinished,
            Err(error) => {
                self.close().await?;
                return Err(error);
            }
        };
        if !unfinished.is_empty() {
            let changes = unfinished::describe(&unfinished);
            tracing::warn!(%changes, "the log tells of changes of the vault that were not made");
            data["unfinished"] = changes;
        }
        let mut unit = self.unit(caller);
        unit.change(Change::RecordVaultGeneration(generation));
        unit.emit(NewEvent::of(EventType::VaultUnlocked, VAULT, data));
        if let Err(error) = self.commit(unit).await {
            self.close().await?;
            return Err(error);
        }
        if let Err(error) = self.finish_deletions(&unfinished).await {
            tracing::warn!(%error, "could not finish the deletion of a key");
        }
        self.recover().await;
        self.warn_of_orphans().await;
        self.reset_idle_timer();
        self.rewrap_soon();
        Ok(if created { Unlocked::Created } else { Unlocked::Opened })
    }

    async fn lock(&mut self, caller: &Caller, reason: &str) -> Result<(), Error> {
        if self.status() != Status::Unlocked {
            let detail = format!("the vault is {}: there is nothing to lock", self.status());
            return Err(Refusal::conflict(ProblemCode::Transition, detail).into());
        }
        self.close().await?;
        self.context.shared.disconnect_providers();
        self.tell(caller, EventType::VaultLocked, json!({"reason": reason})).await
    }

    async fn close(&mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.context.shared);
        self.grants.clear();
        self.context.timers.cancel(IDLE);
        let closing = shared.open_vault.work(&shared, |vault| {
            vault.lock();
            Ok(())
        });
        closing.await
    }

    async fn accept_rollback(&mut self, caller: &Caller) -> Result<(), Error> {
        let shared = Arc::clone(&self.context.shared);
        let (open, rolled_back) = {
            let snapshot = shared.open_vault.snapshot();
            (snapshot.check_open(), snapshot.rolled_back())
        };
        let Some(RolledBack { seen, found }) = rolled_back else {
            open?;
            return Err(
                Refusal::conflict(ProblemCode::Conflict, "the key file is the newest one seen").into()
            );
        };
        let mut unit = self.unit(caller);
        unit.change(Change::AcceptVaultGeneration(found));
        let data = json!({"seen": seen, "found": found});
        unit.emit(NewEvent::of(EventType::VaultRollbackAccepted, VAULT, data));
        self.commit(unit).await?;
        shared.open_vault.expect_generation(found);
        self.recover().await;
        self.reset_idle_timer();
        self.rewrap_soon();
        Ok(())
    }

    async fn use_key(&mut self, wanted: KeyUse) -> Result<SecretString, Error> {
        let shared = Arc::clone(&self.context.shared);
        let now = shared.clock.now();
        {
            // Before the log says that it was used.
            let snapshot = shared.open_vault.snapshot();
            snapshot.check_open()?;
            snapshot.check_host(&wanted.key_id, &wanted.host)?;
        }
        if self.grants.get(&wanted).is_none_or(|until| *until <= now) {
            let data = json!({"holder": wanted.holder, "host": wanted.host, "purpose": wanted.purpose});
            let mut unit = self.unit(&Caller::named(wanted.holder.as_str()));
            unit.emit(NewEvent::of(EventType::KeyUsed, wanted.key_id.as_str(), data));
            self.commit(unit).await?;
            // A heartbeat's grant lasts until the vault is locked, or it would fill the log.
            let lasts = if wanted.purpose == "heartbeat" { Duration::MAX } else { GRANT };
            self.grants.retain(|_, until| *until > now);
            self.grants.insert(wanted.clone(), now.plus(lasts));
        }
        if wanted.purpose != "heartbeat" {
            self.reset_idle_timer();
        }
        let KeyUse { key_id, host, .. } = wanted;
        shared.open_vault.work(&shared, move |vault| vault.get(&key_id, Some(&host))).await
    }

    /// Puts the time of locking itself off.
    pub(crate) fn reset_idle_timer(&self) {
        let idle = self.context.shared.settings.auto_lock;
        if !idle.is_zero() {
            self.context.timers.set(IDLE, self.context.shared.clock.now().plus(idle), Command::Idle);
        }
    }
}
