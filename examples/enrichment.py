"""What can be found out about one contact without asking anybody: no network, no account, no cost.

The e-mail address is judged by its syntax and the shape of its domain, the telephone number by the numbering
plan of its country.
"""

import re
from dataclasses import dataclass

import email_validator
import phonenumbers
from contacts import Contact
from phonenumbers import NumberParseException, ValidationResult, carrier

REGIONS = frozenset(phonenumbers.SUPPORTED_REGIONS)

E164_DIGITS_MAX = 15
FAULT_SEPARATOR = "; "

_FREE_MAIL = """
    126.com 163.com aol.com fastmail.com free.fr freenet.de gmail.com gmx.at gmx.ch gmx.com gmx.de gmx.net
    googlemail.com hotmail.co.uk hotmail.com hotmail.de hotmail.es hotmail.fr hotmail.it hushmail.com
    icloud.com laposte.net libero.it live.co.uk live.com live.fr mac.com mail.com mail.ru me.com msn.com
    naver.com orange.fr outlook.com outlook.de outlook.fr posteo.de proton.me protonmail.com qq.com
    rediffmail.com rocketmail.com seznam.cz t-online.de tutanota.com uol.com.br virgilio.it web.de wp.pl
    yahoo.ca yahoo.co.in yahoo.co.jp yahoo.co.uk yahoo.com yahoo.com.br yahoo.de yahoo.es yahoo.fr yahoo.it
    yandex.ru ymail.com zoho.com
"""
FREE_MAIL_DOMAINS = frozenset(_FREE_MAIL.split())
"""Domains at which anybody may have an address, so that they say nothing about a company."""

PHONE_FAULTS = {
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "phone: too short, perhaps without its area code",
    ValidationResult.INVALID_COUNTRY_CODE: "phone: there is no such country code",
    ValidationResult.TOO_SHORT: "phone: too short",
    ValidationResult.TOO_LONG: "phone: too long",
    ValidationResult.INVALID_LENGTH: "phone: not a length that the country has",
}
PARSE_FAULTS = {
    NumberParseException.INVALID_COUNTRY_CODE: "phone: there is no such country code",
    NumberParseException.NOT_A_NUMBER: "phone: not a telephone number",
    NumberParseException.TOO_SHORT_AFTER_IDD: "phone: too short",
    NumberParseException.TOO_SHORT_NSN: "phone: too short",
    NumberParseException.TOO_LONG: "phone: too long",
}
PHONE_EXTENSION = re.compile(r"\s*[,;]?\s*(?:ext(?:ension)?|x|#)[.:]?\s*\d{1,7}$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Enrichment:
    """What was found about one contact, in the order of `contacts.FOUND`; nothing found is empty."""

    email_normalised: str = ""
    email_domain: str = ""
    company_domain: str = ""
    phone_e164: str = ""
    phone_region: str = ""
    phone_carrier: str = ""
    faults: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """Whether the contact counts as enriched, for which address and number must both be sound."""
        return "failed" if self.faults else "enriched"

    @property
    def columns(self) -> tuple[str, ...]:
        """What the file shows of it."""
        return (
            self.email_normalised,
            self.email_domain,
            self.company_domain,
            self.phone_e164,
            self.phone_region,
            self.phone_carrier,
            self.outcome,
            FAULT_SEPARATOR.join(self.faults),
        )


class Fault(ValueError):
    """What is wrong with a part of a contact, in words that are the same for all such contacts."""


def enrich(contact: Contact, region: str) -> Enrichment:
    """Find out what can be found; numbers without a country code are taken as those of *region*."""
    if contact.fault:
        return Enrichment(faults=(contact.fault,))
    faults = []
    address = domain = e164 = phone_region = phone_carrier = ""
    try:
        address, domain = _email(contact.email)
    except Fault as fault:
        faults.append(str(fault))
    try:
        e164, phone_region, phone_carrier = _phone(contact.phone, region)
    except Fault as fault:
        faults.append(str(fault))
    company = "" if domain in FREE_MAIL_DOMAINS else domain
    return Enrichment(address, domain, company, e164, phone_region, phone_carrier, tuple(faults))


def _email(text: str) -> tuple[str, str]:
    """The address in its one normal form, and its domain."""
    if not text:
        raise Fault("email: missing")
    try:
        # RFC 2606 reserves .test for trying things out, which is what sample contacts are for.
        found = email_validator.validate_email(text, check_deliverability=False, test_environment=True)
    except email_validator.EmailNotValidError as error:
        raise Fault(f"email: {error}") from None
    return found.normalized, found.domain


def _phone(text: str, region: str) -> tuple[str, str, str]:
    """The number in E.164, its region, and the carrier that its range was first given to.

    A number is sound if its country has numbers of that length: `is_possible` and not `is_valid`, since lists
    of assigned ranges lag behind, and lack some that regulators set aside for fiction. Where the range is not
    known, the region stays empty.
    """
    if not text:
        raise Fault("phone: missing")
    # 00 is how most of the world dials what is written as + (ITU-T E.123).
    text = re.sub(r"^00(?=[ \d])", "+", text)
    number_alone = PHONE_EXTENSION.sub("", text).removeprefix("tel:")
    if any(map(str.isalpha, number_alone)) and any(map(str.isdigit, number_alone)):
        # The library would read a letter O as the key 6, as in 1-800-FLOWERS, and find a wrong number sound.
        raise Fault("phone: letters among the digits")
    try:
        number = phonenumbers.parse(number_alone, region)
    except NumberParseException as error:
        raise Fault(PARSE_FAULTS[error.error_type]) from None
    possible = phonenumbers.is_possible_number_with_reason(number)
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if possible == ValidationResult.IS_POSSIBLE and len(e164.lstrip("+")) > E164_DIGITS_MAX:
        possible = ValidationResult.TOO_LONG
    if possible != ValidationResult.IS_POSSIBLE:
        raise Fault(PHONE_FAULTS[possible])
    return e164, phonenumbers.region_code_for_number(number) or "", carrier.name_for_number(number, "en")
