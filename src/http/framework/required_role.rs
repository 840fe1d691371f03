//! Role required by an endpoint.

use arbiter_core::kernel::token::Role;

/// The least role that an endpoint asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// No token required.
    Public,
    /// Viewers and above.
    Viewer,
    /// Agents too, for their own beads.
    Agent,
    /// Operators and administrators.
    Operator,
    /// Administrators only.
    Admin,
}

impl Access {
    /// Returns whether a role suffices.
    pub const fn is_satisfied_by(self, role: Role) -> bool {
        let rank = match role {
            Role::Viewer => 1,
            Role::Agent => 2,
            Role::Operator => 3,
            Role::Admin => 4,
        };
        rank >= self as u8
    }

    /// The word for it in messages and in the OpenAPI document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Viewer => "viewer",
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_role_has_access_of_lower_roles() {
        let order = [Role::Viewer, Role::Agent, Role::Operator, Role::Admin];
        let accesses = [Access::Viewer, Access::Agent, Access::Operator, Access::Admin];
        for (rank, role) in order.into_iter().enumerate() {
            assert!(Access::Public.is_satisfied_by(role));
            for (needed, access) in accesses.into_iter().enumerate() {
                assert_eq!(access.is_satisfied_by(role), rank >= needed, "{role} {}", access.as_str());
            }
        }
    }
}
