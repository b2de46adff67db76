//! The pages: each handler asks the fleet, puts it in words, renders a template.

pub(super) mod destinations;
pub(super) mod device;
pub(super) mod fleet;
pub(super) mod go_live;
#[cfg(test)]
mod golden;
pub(super) mod login;
pub(super) mod maintenance;
pub(super) mod stream;
pub(super) mod users;

use axum::response::Response;
use jiff::Timestamp;
use strata_fleet::{FleetError, Role};
use strata_web::{NavItem, Page};

use super::caller::Caller;
use super::error::PageError;

/// What a page's handler answers.
type Answer = Result<Response, PageError>;

/// How often a page without JavaScript loads itself again.
const REFRESH_S: u32 = 10;

/// Which entry of the navigation a page belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Section {
    Fleet,
    Streams,
    Destinations,
    Users,
    Audit,
}

/// The frame of a page that somebody who is logged in sees.
fn frame(caller: &Caller, section: Section, title: impl Into<String>) -> Page {
    let entries = [
        (Section::Fleet, "Fleet", "/", Role::Viewer),
        (Section::Streams, "Streams", "/streams", Role::Viewer),
        (Section::Destinations, "Destinations", "/destinations", Role::Viewer),
        (Section::Users, "Users", "/users", Role::Admin),
        (Section::Audit, "Audit log", "/audit", Role::Admin),
    ];
    let nav = entries
        .into_iter()
        .filter(|(_, _, _, least)| caller.actor.role >= *least)
        .map(|(of, label, href, _)| NavItem { label, href, current: of == section });
    Page {
        title: title.into(),
        nav: nav.collect(),
        user: Some(caller.actor.name.clone()),
        csrf: caller.csrf(),
        now_ms: Timestamp::now().as_millisecond(),
        ..Page::default()
    }
}

/// A page that is told of changes.
fn live_frame(caller: &Caller, section: Section, title: impl Into<String>, topic: String) -> Page {
    Page { topics: topic, refresh_s: Some(REFRESH_S), ..frame(caller, section, title) }
}

fn may_operate(caller: &Caller) -> bool {
    caller.actor.role >= Role::Operator
}

fn may_admin(caller: &Caller) -> bool {
    caller.actor.role >= Role::Admin
}

/// Refuses a form before it is filled in for nothing; the fleet refuses the deed itself.
fn need(caller: &Caller, needed: Role) -> Result<(), FleetError> {
    let yours = caller.actor.role;
    if yours >= needed { Ok(()) } else { Err(FleetError::Forbidden { needed, yours }) }
}
