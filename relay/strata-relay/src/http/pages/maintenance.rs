//! The device page's forms for what a device does with itself: update, roll back, reboot, factory reset, log.
//!
//! A form that was accepted leads back to the page, which says so; one that
//! was not shows the page again with the reason and what was typed.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use strata_control::{DeviceId, UpdateSchedule};
use strata_fleet::{ErrorKind, FleetError, UpdateDevice};

use super::Answer;
use super::device::device_page;
use crate::http::AppState;
use crate::http::api::maintenance::text;
use crate::http::caller::{Caller, Posted};
use crate::http::error::{PageError, Refusal, see_other};
use crate::http::fields::{Fields, Id};
use crate::http::view::system::sentence;

/// What a device is told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Deed {
    Update,
    RollBack,
    Reboot,
    Reset,
    Log,
}

/// What came of a form, above everything else on the page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Notice {
    pub(super) kind: &'static str,
    pub(super) title: &'static str,
    pub(super) text: String,
}

/// The forms as they are shown again after a refusal: which one is open, and what was typed.
#[derive(Default)]
pub(super) struct Forms {
    pub(super) notice: Option<Notice>,
    pub(super) open: Option<Deed>,
    pub(super) bundle_url: String,
    pub(super) version: String,
    pub(super) now: bool,
    pub(super) over_metered: bool,
}

impl Deed {
    const ALL: [Self; 5] = [Self::Update, Self::RollBack, Self::Reboot, Self::Reset, Self::Log];

    fn key(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::RollBack => "rollback",
            Self::Reboot => "reboot",
            Self::Reset => "reset",
            Self::Log => "log",
        }
    }

    /// What the device said yes to; none for a log, which comes as a file in the page's place.
    fn done(self) -> Option<Notice> {
        let (title, text) = match self {
            Self::Update => ("The device accepted the update.", "How it goes is shown below, under System."),
            Self::RollBack => {
                ("The device was asked to roll back.", "It reboots into its other slot as soon as it may.")
            }
            Self::Reboot => ("The device was asked to reboot.", "It is offline until it is up again."),
            Self::Reset => {
                ("The device was asked to reset itself.", "It reboots for that, and is offline until it is up again.")
            }
            Self::Log => return None,
        };
        Some(Notice { kind: "good", title, text: text.to_owned() })
    }

    fn refused(self, error: &FleetError) -> Notice {
        let title = match self {
            _ if matches!(error, FleetError::DeviceSilent { .. }) => "The device did not answer.",
            Self::Update => "The update was not begun.",
            Self::RollBack => "The device was not rolled back.",
            Self::Reboot => "The device was not rebooted.",
            Self::Reset => "The device was not reset.",
            Self::Log => "The log was not fetched.",
        };
        Notice { kind: "bad", title, text: sentence(&error.to_string()) }
    }
}

impl Forms {
    /// After a form was accepted: the page's address says which.
    pub(super) fn after(query: Option<&str>) -> Self {
        let key = query.and_then(|query| query.strip_prefix("done="));
        let deed = key.and_then(|key| Deed::ALL.into_iter().find(|deed| deed.key() == key));
        Self { notice: deed.and_then(Deed::done), ..Self::default() }
    }

    fn again(deed: Deed, fields: &Fields, error: &FleetError) -> Self {
        Self {
            notice: Some(deed.refused(error)),
            open: Some(deed),
            bundle_url: fields.get("bundle_url").to_owned(),
            version: fields.get("version").to_owned(),
            now: fields.get("when") == "now",
            over_metered: fields.get("over_metered") == "yes",
        }
    }

    pub(super) fn is_open(&self, deed: Deed) -> bool {
        self.open == Some(deed)
    }
}

/// Back to the page, with the device's yes or no on it.
async fn answer(
    (state, caller, id): (&AppState, &Caller, DeviceId),
    deed: Deed,
    fields: &Fields,
    outcome: Result<(), FleetError>,
) -> Answer {
    match outcome {
        Ok(()) => Ok(see_other(&format!("/devices/{id}?done={}", deed.key()))),
        Err(error) => again((state, caller, id), deed, fields, error).await,
    }
}

async fn again(
    (state, caller, id): (&AppState, &Caller, DeviceId),
    deed: Deed,
    fields: &Fields,
    error: FleetError,
) -> Result<Response, PageError> {
    if !matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::Device) {
        return Err(error.into());
    }
    let forms = Forms::again(deed, fields, &error);
    let page = device_page(state, caller, id, forms).await?;
    Ok((Refusal::from(error).status(), page).into_response())
}

pub(crate) async fn update(
    State(state): State<AppState>,
    Id(id): Id<DeviceId>,
    Posted { caller, fields }: Posted,
) -> Answer {
    let when = if fields.get("when") == "now" { UpdateSchedule::Now } else { UpdateSchedule::WhenIdle };
    let update = UpdateDevice {
        bundle_url: fields.get("bundle_url").to_owned(),
        version: fields.get("version").to_owned(),
        manifest_sha256: None,
        over_metered: fields.get("over_metered") == "yes",
        install: when,
        reboot: when,
    };
    let outcome = state.fleet.update_device(&caller.actor, id, update).await;
    answer((&state, &caller, id), Deed::Update, &fields, outcome).await
}

pub(crate) async fn roll_back(
    State(state): State<AppState>,
    Id(id): Id<DeviceId>,
    Posted { caller, fields }: Posted,
) -> Answer {
    let outcome = state.fleet.roll_back_device(&caller.actor, id, fields.get("even_if_live") == "yes").await;
    answer((&state, &caller, id), Deed::RollBack, &fields, outcome).await
}

pub(crate) async fn reboot(
    State(state): State<AppState>,
    Id(id): Id<DeviceId>,
    Posted { caller, fields }: Posted,
) -> Answer {
    let outcome = state.fleet.reboot_device(&caller.actor, id, fields.get("even_if_live") == "yes").await;
    answer((&state, &caller, id), Deed::Reboot, &fields, outcome).await
}

pub(crate) async fn reset(
    State(state): State<AppState>,
    Id(id): Id<DeviceId>,
    Posted { caller, fields }: Posted,
) -> Answer {
    let outcome = state.fleet.reset_device(&caller.actor, id, fields.get("forget_identity") != "yes").await;
    answer((&state, &caller, id), Deed::Reset, &fields, outcome).await
}

/// The device's newest log lines as a file.
pub(crate) async fn log(
    State(state): State<AppState>,
    Id(id): Id<DeviceId>,
    Posted { caller, fields }: Posted,
) -> Answer {
    let device = state.fleet.device(&caller.actor, id).await?;
    match state.fleet.device_log(&caller.actor, id, None).await {
        Ok(lines) => {
            let named = format!("attachment; filename=\"{}\"", log_name(&device.name, Timestamp::now()));
            let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, named)];
            Ok((StatusCode::OK, headers, text(&lines)).into_response())
        }
        Err(error) => again((&state, &caller, id), Deed::Log, &fields, error).await,
    }
}

/// A file name of the device's name: only letters that no system gives a meaning to.
fn log_name(device: &str, now: Timestamp) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    let name: String = device.chars().map(plain).collect();
    format!("{}-{}.log", name.trim_matches('-'), now.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_after_its_device_without_what_a_path_or_header_takes_otherwise() {
        let now = "2026-03-04T12:34:56Z".parse().unwrap();
        assert_eq!(log_name("Van 2", now), "van-2-20260304-123456.log");
        assert_eq!(log_name("../\"é\r\n", now), "-20260304-123456.log");
    }

    #[test]
    fn only_a_deed_of_ours_is_said_to_be_done() {
        for (key, title) in [
            ("update", "The device accepted the update."),
            ("rollback", "The device was asked to roll back."),
            ("reboot", "The device was asked to reboot."),
            ("reset", "The device was asked to reset itself."),
        ] {
            let notice = Forms::after(Some(&format!("done={key}"))).notice;
            assert_eq!(notice.map(|notice| (notice.kind, notice.title)), Some(("good", title)), "{key}");
        }
        for query in [None, Some(""), Some("done="), Some("done=log"), Some("done=%3Cb%3E"), Some("said=reboot")] {
            assert_eq!(Forms::after(query).notice, None);
        }
    }
}
