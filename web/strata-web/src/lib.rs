//! What every page of Strata shares, on the relay and on the device's portal.
//!
//! Owns the layout and macros (in `templates/`, for Askama by `askama.toml` of
//! the crate that uses them), the style sheet, the small scripts, the player
//! library, and how numbers are written for people. Does not own any page, nor
//! any type of the domain: nothing here knows what a device or a stream is.

mod assets;
pub mod format;
mod page;

pub use assets::{Asset, asset, asset_url};
pub use page::{NavItem, Page};
