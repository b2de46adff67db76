//! What the layout needs to know of a page.

use crate::asset_url;

/// The frame around a page's content.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Its title, before the product's name.
    pub title: String,
    /// Where one can go; empty without a login.
    pub nav: Vec<NavItem>,
    /// Who is logged in.
    pub user: Option<String>,
    /// The token that every form of this page carries.
    pub csrf: String,
    /// The relay's clock, milliseconds since 1970-01-01 UTC: ages are counted from it.
    pub now_ms: i64,
    /// Seconds after which a browser without JavaScript loads the page again; none for forms.
    pub refresh_s: Option<u32>,
    /// What the page is told about live, separated by spaces (`fleet`, `stream:ID`); empty for none.
    pub topics: String,
    /// Scripts beyond the ones every page has.
    pub scripts: Vec<&'static str>,
}

/// An entry of the navigation.
#[derive(Clone, Debug)]
pub struct NavItem {
    /// Its words.
    pub label: &'static str,
    /// Its address.
    pub href: &'static str,
    /// Whether the page belongs to it.
    pub current: bool,
}

impl Page {
    /// The address of an embedded file.
    #[must_use]
    pub fn asset(&self, name: &str) -> String {
        asset_url(name)
    }
}
