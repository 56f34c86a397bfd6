"""Credentials: what each is called in the environment, and the one object that holds them.

Belongs here: names and their types. Keep out: the environment, which `settings.py` alone reads;
what a credential opens.
"""

from pydantic import BaseModel, ConfigDict, SecretStr

# Vendors' own names for their credentials, so that an existing environment just works.
CREDENTIALS = {
    "sendgrid_api_key": "SENDGRID_API_KEY",
    "twilio_account_sid": "TWILIO_ACCOUNT_SID",
    "twilio_auth_token": "TWILIO_AUTH_TOKEN",
    "resend_api_key": "RESEND_API_KEY",
    "whatsapp_access_token": "WHATSAPP_ACCESS_TOKEN",
    "meta_access_token": "META_ACCESS_TOKEN",
    "google_credentials": "GOOGLE_APPLICATION_CREDENTIALS",
    "openai_api_key": "OPENAI_API_KEY",
    "sendgrid_webhook_key": "SENDGRID_WEBHOOK_VERIFICATION_KEY",
    "resend_webhook_secret": "RESEND_WEBHOOK_SECRET",
    "whatsapp_app_secret": "WHATSAPP_APP_SECRET",
    "whatsapp_verify_token": "WHATSAPP_VERIFY_TOKEN",
    # Signs LoopDrive's own webhook, both ways.
    "loopdrive_webhook_secret": "LOOPDRIVE_WEBHOOK_SECRET",
}


class SecretSettings(BaseModel):
    """Credentials, from the environment only; never printed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sendgrid_api_key: SecretStr | None = None
    twilio_account_sid: SecretStr | None = None
    twilio_auth_token: SecretStr | None = None
    resend_api_key: SecretStr | None = None
    whatsapp_access_token: SecretStr | None = None
    meta_access_token: SecretStr | None = None
    google_credentials: SecretStr | None = None
    openai_api_key: SecretStr | None = None
    sendgrid_webhook_key: SecretStr | None = None
    resend_webhook_secret: SecretStr | None = None
    whatsapp_app_secret: SecretStr | None = None
    whatsapp_verify_token: SecretStr | None = None
    loopdrive_webhook_secret: SecretStr | None = None
    write_keys: tuple[SecretStr, ...] = ()
    api_keys: tuple[SecretStr, ...] = ()
    link_keys: tuple[SecretStr, ...] = ()
    llm_base_url: str | None = None
    llm_model: str = "gpt-5-mini"
