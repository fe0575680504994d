//! Setters of structs of options, which others build from their defaults.

/// Makes a setter of the same name for each field, so that options can be given in one expression:
/// `OpenOptions::default().allow_missing_data(true)`.
#[doc(hidden)]
#[macro_export]
macro_rules! setters {
    ($options:ident { $($field:ident: $type:ty,)* }) => {
        impl $options {
            $(
                #[doc = concat!("Sets the field `", stringify!($field), "`.")]
                #[must_use]
                pub fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}
