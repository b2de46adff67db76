//! A device's settings: what a person chose, kept on the data partition across updates and roll-backs.
//!
//! The image ships a schema ([`schema`]): keys, and the steps that lead from each version to the next. A step consists
//! of reversible operations ([`document`]), and the settings file carries the inverse steps with it: an older image
//! follows them down without knowing the newer one. [`store`] keeps the file whole through power cuts and damage,
//! [`values`] says what is in force, [`apply`] makes the running system follow.
//!
//! Owns no setting of the relay's (those come over the control connection) and no identity.

pub mod apply;
pub mod document;
pub mod kind;
pub mod schema;
pub mod store;
pub mod values;
