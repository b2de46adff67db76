//! Which source is in use: start, switch, loss and return.
//!
//! Owns the running sources and their order: a new one replaces the old at its
//! first frame, one that fails leaves the old in place, and one that is lost is
//! tried again until it is back. Does not own what is shown meanwhile (the
//! seam) nor when to give up (the session).

use std::sync::Arc;
use std::time::Duration;

use strata_control::{EndReason, Source};
use strata_encoder_protocol::SourceError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::format::RawFormat;
use crate::seam::{Generation, Seam, SourceEvent};
use crate::sources::{self, RunningSource};

/// So long a source may take to its first frame.
const FIRST_FRAME: Duration = Duration::from_secs(12);
/// Time between two attempts to get a lost source back.
const RETRY: Duration = Duration::from_secs(2);
/// A source that runs and gives nothing for so long is closed and opened again.
const STALLED: Duration = Duration::from_secs(5);

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The first source gives pictures.
    Started,
    /// The first source cannot be used.
    StartFailed(SourceError),
    /// Another source is in use now.
    Switched(Source),
    /// The source in use stays, for the other one cannot be used.
    SwitchFailed(SourceError),
    /// The source in use gives no more.
    Lost(SourceError),
    /// The lost source is back.
    Returned,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Start,
    Switch,
    Return,
}

/// A source on its way to its first frame.
struct Pending {
    generation: Generation,
    source: Source,
    purpose: Purpose,
    running: Option<RunningSource>,
    deadline: Instant,
}

type Opened = (Generation, Result<RunningSource, SourceError>);

/// The sources of a stream.
pub(crate) struct SourceControl {
    seam: Arc<Seam>,
    format: RawFormat,
    events: mpsc::Receiver<SourceEvent>,
    current: Source,
    active: Option<(Generation, Option<RunningSource>)>,
    pending: Option<Pending>,
    retry_at: Option<Instant>,
    opening: JoinSet<Opened>,
    closing: JoinSet<()>,
    generations: Generation,
}

impl SourceControl {
    /// Starts the first source.
    pub(crate) fn start(
        source: Source,
        seam: Arc<Seam>,
        format: RawFormat,
        events: mpsc::Receiver<SourceEvent>,
    ) -> Self {
        let mut this = Self {
            seam,
            format,
            events,
            current: source.clone(),
            active: None,
            pending: None,
            retry_at: None,
            opening: JoinSet::new(),
            closing: JoinSet::new(),
            generations: 0,
        };
        this.open(source, Purpose::Start);
        this
    }

    /// The source in use, or wanted back.
    pub(crate) fn current(&self) -> &Source {
        &self.current
    }

    /// Changes the source. Gives an outcome at once when there is nothing to wait for.
    pub(crate) fn switch(&mut self, source: Source) -> Option<Outcome> {
        if self.pending.as_ref().is_some_and(|pending| pending.purpose == Purpose::Switch) {
            self.abandon_pending();
            tracing::info!("the switch before is given up for a newer one");
        }
        if source == self.current && self.active.is_some() {
            return Some(Outcome::Switched(source));
        }
        self.abandon_pending();
        self.open(source, Purpose::Switch);
        None
    }

    /// Waits for what happens next. May be dropped and called again at any time.
    pub(crate) async fn next(&mut self) -> Outcome {
        loop {
            let wake = self.next_deadline();
            let outcome = tokio::select! {
                Some(event) = self.events.recv() => self.handle_event(event),
                Some(opened) = self.opening.join_next() => self.handle_opened(opened),
                Some(_) = self.closing.join_next() => None,
                () = tokio::time::sleep_until(wake) => self.handle_time(Instant::now()),
            };
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }

    /// Ends all sources and waits for it.
    pub(crate) async fn close(mut self) {
        self.abandon_pending();
        self.close_active();
        while let Some(opened) = self.opening.join_next().await {
            if let Ok((_, Ok(running))) = opened {
                self.close_running(running);
            }
        }
        while self.closing.join_next().await.is_some() {}
    }

    fn open(&mut self, source: Source, purpose: Purpose) {
        self.generations += 1;
        let generation = self.generations;
        self.retry_at = None;
        let tap = self.seam.expect_source(generation);
        let deadline = Instant::now() + FIRST_FRAME;
        self.pending = Some(Pending { generation, source: source.clone(), purpose, running: None, deadline });
        let format = self.format.clone();
        self.opening.spawn_blocking(move || (generation, sources::start(&source, &format, tap)));
    }

    fn handle_event(&mut self, event: SourceEvent) -> Option<Outcome> {
        match event {
            SourceEvent::TookOver(generation) => self.took_over(generation),
            SourceEvent::Failed(generation, error) => {
                if self.is_pending(generation) {
                    return self.pending_failed(error);
                }
                self.active.as_ref().filter(|(active, _)| *active == generation)?;
                Some(self.lost(error))
            }
        }
    }

    fn handle_opened(&mut self, opened: Result<Opened, tokio::task::JoinError>) -> Option<Outcome> {
        let (generation, result) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(%error, "opening a source panicked");
                return self.pending_failed(failed("opening the source failed unexpectedly".to_owned()));
            }
        };
        match result {
            Ok(running) => {
                if let Some(pending) = self.pending.as_mut().filter(|pending| pending.generation == generation) {
                    pending.running = Some(running);
                } else if let Some((_, slot)) = self.active.as_mut().filter(|(active, _)| *active == generation) {
                    // Its first frame was faster than the news that it runs.
                    *slot = Some(running);
                } else {
                    self.close_running(running);
                }
                None
            }
            Err(error) if self.is_pending(generation) => self.pending_failed(error),
            Err(_) => None,
        }
    }

    fn handle_time(&mut self, now: Instant) -> Option<Outcome> {
        if self.pending.as_ref().is_some_and(|pending| pending.deadline <= now) {
            let seconds = FIRST_FRAME.as_secs();
            return self.pending_failed(SourceError {
                reason: EndReason::NoInput,
                message: format!("{} gave no picture within {seconds} s", self.pending_name()),
            });
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.open(self.current.clone(), Purpose::Return);
            return None;
        }
        let (_, quiet) = self.seam.showing();
        let stalled = self.active.is_some() && self.pending.is_none() && quiet > STALLED;
        stalled.then(|| {
            let name = sources::describe(&self.current);
            self.lost(SourceError { reason: EndReason::NoInput, message: format!("{name} gives no pictures any more") })
        })
    }

    fn took_over(&mut self, generation: Generation) -> Option<Outcome> {
        let pending = self.pending.take_if(|pending| pending.generation == generation)?;
        self.close_active();
        self.active = Some((generation, pending.running));
        self.current = pending.source;
        Some(match pending.purpose {
            Purpose::Start => Outcome::Started,
            Purpose::Switch => Outcome::Switched(self.current.clone()),
            Purpose::Return => Outcome::Returned,
        })
    }

    fn pending_failed(&mut self, error: SourceError) -> Option<Outcome> {
        let purpose = self.pending.as_ref()?.purpose;
        self.abandon_pending();
        match purpose {
            Purpose::Start => Some(Outcome::StartFailed(error)),
            Purpose::Switch => {
                self.retry_if_lost();
                Some(Outcome::SwitchFailed(error))
            }
            Purpose::Return => {
                tracing::debug!(error = error.message, "the source is not back yet");
                self.retry_if_lost();
                None
            }
        }
    }

    fn lost(&mut self, error: SourceError) -> Outcome {
        self.close_active();
        self.retry_if_lost();
        Outcome::Lost(error)
    }

    fn retry_if_lost(&mut self) {
        if self.active.is_none() && self.pending.is_none() {
            self.retry_at = Some(Instant::now() + RETRY);
        }
    }

    fn abandon_pending(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.seam.forget_source(pending.generation);
            if let Some(running) = pending.running {
                self.close_running(running);
            }
        }
    }

    fn close_active(&mut self) {
        if let Some((generation, running)) = self.active.take() {
            self.seam.forget_source(generation);
            if let Some(running) = running {
                self.close_running(running);
            }
        }
    }

    /// Closing can wait for a driver: not here.
    fn close_running(&mut self, running: RunningSource) {
        self.closing.spawn_blocking(move || drop(running));
    }

    fn is_pending(&self, generation: Generation) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.generation == generation)
    }

    fn pending_name(&self) -> String {
        self.pending.as_ref().map(|pending| sources::describe(&pending.source)).unwrap_or_default()
    }

    fn next_deadline(&self) -> Instant {
        let look_again = Instant::now() + Duration::from_secs(1);
        let deadlines = [self.pending.as_ref().map(|pending| pending.deadline), self.retry_at];
        deadlines.into_iter().flatten().fold(look_again, Instant::min)
    }
}

fn failed(message: String) -> SourceError {
    SourceError { reason: EndReason::SourceUnreadable, message }
}
