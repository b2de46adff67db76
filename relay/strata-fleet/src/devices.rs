//! Devices as people see and manage them.

use jiff::Timestamp;
use strata_control::{DeviceId, DeviceStatus};
use strata_relay_db::{DeviceRecord, NewDevice, NewEnrolmentToken, Role};
use uuid::Uuid;

use crate::inner::{Inner, checked_text, require};
use crate::token::EnrolmentTokenParts;
use crate::{Actor, DeviceView, EnrolmentToken, Fleet, FleetError, FleetEvent};

pub(crate) const NO_DEVICE: FleetError = FleetError::NotFound { what: "device" };
/// The longest name of a device, in characters.
const MAX_NAME_CHARS: usize = 80;

impl Fleet {
    /// All devices of the actor's owner, by name.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn devices(&self, actor: &Actor) -> Result<Vec<DeviceView>, FleetError> {
        let records = self.inner.db.devices(actor.owner_id).await?;
        Ok(records.into_iter().map(|record| self.inner.device_view(record)).collect())
    }

    /// One device.
    ///
    /// # Errors
    /// [`FleetError::NotFound`], or the storage failed.
    pub async fn device(&self, actor: &Actor, id: DeviceId) -> Result<DeviceView, FleetError> {
        let record = self.inner.db.device(actor.owner_id, id).await?.ok_or(NO_DEVICE)?;
        Ok(self.inner.device_view(record))
    }

    /// Adds a device; its token is shown this once. For admins.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], [`FleetError::Invalid`], or the storage failed.
    pub async fn create_device(&self, actor: &Actor, name: &str) -> Result<(DeviceId, EnrolmentToken), FleetError> {
        require(actor, Role::Admin)?;
        let name = checked_text("device's name", name, MAX_NAME_CHARS)?;
        let device = NewDevice { id: DeviceId(Uuid::now_v7()), owner: actor.owner_id, name };
        let (shown, stored) = self.inner.new_enrolment_token();
        let entry = Inner::audit(actor, "device.create", format!("device {}", device.name), String::new());
        self.inner.db.add_device(&device, &stored, &entry).await?;
        self.inner.events.tell(actor.owner_id, FleetEvent::DeviceChanged { device_id: device.id, online: false });
        Ok((device.id, shown))
    }

    /// Makes a new token for a device: its unused ones are over; a device that enrols with it gets its new key, also
    /// after a revocation. For admins.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], [`FleetError::NotFound`], or the storage failed.
    pub async fn new_enrolment_token(&self, actor: &Actor, id: DeviceId) -> Result<EnrolmentToken, FleetError> {
        require(actor, Role::Admin)?;
        let name = self.device_name(actor, id).await?;
        let (shown, stored) = self.inner.new_enrolment_token();
        let entry = Inner::audit(actor, "device.new_token", format!("device {name}"), String::new());
        if !self.inner.db.replace_enrolment_token(id, &stored, &entry).await? {
            return Err(NO_DEVICE);
        }
        self.inner.tell_device_changed(actor, id);
        Ok(shown)
    }

    /// Renames a device. For admins.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], [`FleetError::NotFound`], [`FleetError::Invalid`], or the storage failed.
    pub async fn rename_device(&self, actor: &Actor, id: DeviceId, name: &str) -> Result<(), FleetError> {
        require(actor, Role::Admin)?;
        let old = self.device_name(actor, id).await?;
        let name = checked_text("device's name", name, MAX_NAME_CHARS)?;
        let entry = Inner::audit(actor, "device.rename", format!("device {old}"), format!("to {name}"));
        if !self.inner.db.rename_device(id, &name, &entry).await? {
            return Err(NO_DEVICE);
        }
        self.inner.tell_device_changed(actor, id);
        Ok(())
    }

    /// Revokes a device's key: refused from now on, its open connection and its stream included. For admins.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], [`FleetError::NotFound`], or the storage failed.
    pub async fn revoke_device(&self, actor: &Actor, id: DeviceId) -> Result<(), FleetError> {
        require(actor, Role::Admin)?;
        let name = self.device_name(actor, id).await?;
        let entry = Inner::audit(actor, "device.revoke", format!("device {name}"), String::new());
        if !self.inner.db.revoke_device(id, &entry).await? {
            return Err(NO_DEVICE);
        }
        let detail = format!("{} revoked the key of {name}", actor.name);
        self.inner.expel(id, &detail).await;
        self.inner.tell_device_changed(actor, id);
        Ok(())
    }

    /// Deletes a device with the history of its streams and updates. For admins.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], [`FleetError::NotFound`], or the storage failed.
    pub async fn delete_device(&self, actor: &Actor, id: DeviceId) -> Result<(), FleetError> {
        require(actor, Role::Admin)?;
        let name = self.device_name(actor, id).await?;
        // Its key first, so that it cannot come back while its stream ends.
        let revoke = Inner::audit(actor, "device.revoke", format!("device {name}"), String::new());
        self.inner.db.revoke_device(id, &revoke).await?;
        self.inner.expel(id, &format!("{} deleted {name}", actor.name)).await;
        let entry = Inner::audit(actor, "device.delete", format!("device {name}"), String::new());
        if !self.inner.db.delete_device(id, &entry).await? {
            return Err(NO_DEVICE);
        }
        self.inner.devices.forget(id);
        self.inner.events.tell(actor.owner_id, FleetEvent::DeviceDeleted { device_id: id });
        Ok(())
    }

    async fn device_name(&self, actor: &Actor, id: DeviceId) -> Result<String, FleetError> {
        Ok(self.inner.db.device(actor.owner_id, id).await?.ok_or(NO_DEVICE)?.name)
    }
}

impl Inner {
    fn tell_device_changed(&self, actor: &Actor, id: DeviceId) {
        let online = self.devices.is_online(id);
        self.events.tell(actor.owner_id, FleetEvent::DeviceChanged { device_id: id, online });
    }

    fn new_enrolment_token(&self) -> (EnrolmentToken, NewEnrolmentToken) {
        let parts = EnrolmentTokenParts::generate();
        let expires_at = Timestamp::now() + self.config.enrolment_token_life;
        let stored = NewEnrolmentToken { lookup: parts.lookup.clone(), secret_hash: parts.secret_hash(), expires_at };
        (EnrolmentToken { token: parts.text(), expires_at }, stored)
    }

    /// What is stored and what is known in memory, which is newer.
    fn device_view(&self, record: DeviceRecord) -> DeviceView {
        let now = self.devices.now(record.id);
        let (status, status_at) = match now.status {
            Some((status, at)) => (Some(status), Some(at)),
            None => (record.status, record.status_at),
        };
        let status = status.map(|status| DeviceStatus { update: now.update.or(status.update.clone()), ..status });
        DeviceView {
            id: record.id,
            name: record.name,
            created_at: record.created_at,
            enrolled: record.public_key.is_some(),
            public_key: record.public_key,
            enrolment_expires_at: record.token_expires_at.filter(|at| *at > Timestamp::now()),
            revoked_at: record.revoked_at,
            online: now.online,
            last_seen: now.last_seen.max(record.last_seen_at),
            simulated: status.as_ref().is_some_and(|status| status.simulated),
            agent: record.agent,
            status,
            status_at,
            live_stream: self.streams.of_device(record.id),
        }
    }
}
