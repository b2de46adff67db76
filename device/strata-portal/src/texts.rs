//! Every sentence of the device's pages, in every language: one place.
//!
//! A text that is missing in a language does not compile.

use crate::language::Language;

macro_rules! texts {
    ($($(#[$what:meta])* $name:ident: $english:literal, $german:literal, $spanish:literal, $french:literal;)*) => {
        /// The texts in one language.
        #[derive(Debug)]
        pub struct Texts {
            $($(#[$what])* pub $name: &'static str,)*
        }

        static ENGLISH: Texts = Texts { $($name: $english,)* };
        static GERMAN: Texts = Texts { $($name: $german,)* };
        static SPANISH: Texts = Texts { $($name: $spanish,)* };
        static FRENCH: Texts = Texts { $($name: $french,)* };

        #[cfg(test)]
        const ALL: &[(&str, [&str; 4])] = &[$((stringify!($name), [$english, $german, $spanish, $french]),)*];
    };
}

texts! {
    /// Title of the first page.
    welcome: "Set up this encoder",
        "Diesen Encoder einrichten",
        "Configurar este codificador",
        "Configurer cet encodeur";
    /// What the person is about to do.
    welcome_steps: "Two steps: bring it online, and connect it to your relay.",
        "Zwei Schritte: online bringen und mit dem Relay verbinden.",
        "Dos pasos: conectarlo a Internet y vincularlo con su relay.",
        "Deux étapes : le mettre en ligne et le relier à votre relais.";
    /// Heading of the first step.
    step_internet: "Internet",
        "Verbindung ins Internet",
        "Conexión a Internet",
        "Accès à Internet";
    /// It is done.
    internet_there: "The internet is reached.",
        "Das Internet ist erreichbar.",
        "Hay conexión a Internet.",
        "Internet est accessible.";
    /// Heading of the second step.
    step_relay: "Relay",
        "Verbindung zum Relay",
        "Vínculo con el relay",
        "Liaison au relais";
    /// It is done.
    relay_there: "Connected to the relay.",
        "Mit dem Relay verbunden.",
        "Vinculado con el relay.",
        "Relié au relais.";
    /// It goes on.
    enrolling: "The encoder connects to the relay. This takes up to a minute.",
        "Der Encoder verbindet sich mit dem Relay. Das dauert bis zu einer Minute.",
        "El codificador se vincula con el relay. Tarda hasta un minuto.",
        "L’encodeur se relie au relais. Cela prend jusqu’à une minute.";
    /// Heading of the cameras.
    inputs: "Cameras and inputs",
        "Kameras und Eingänge",
        "Cámaras y entradas",
        "Caméras et entrées";
    /// None.
    no_inputs: "No camera was found. You can plug one in later.",
        "Keine Kamera gefunden. Sie kann später angeschlossen werden.",
        "No se encontró ninguna cámara. Puede conectarla más tarde.",
        "Aucune caméra trouvée. Vous pourrez en brancher une plus tard.";
    /// Title of the modems' page.
    modems: "Modems",
        "Mobilfunk-Modems",
        "Módems",
        "Modems mobiles";
    /// Before the PIN's remaining tries.
    pin_tries: "tries left",
        "verbleibende Versuche",
        "intentos restantes",
        "essais restants";
    /// On the button that gives the PIN.
    unlock: "Unlock",
        "Entsperren",
        "Desbloquear",
        "Débloquer";
    /// On a button that keeps what was typed.
    save: "Save",
        "Speichern",
        "Guardar",
        "Enregistrer";
    /// On the link to the page before.
    back: "Back",
        "Zurück",
        "Volver",
        "Retour";
    /// A network that the device has a passphrase of.
    known: "known",
        "bekannt",
        "conocida",
        "connu";
    /// How strong a network is.
    signal: "Signal",
        "Empfang",
        "Señal",
        "Réception";
    /// A network without a passphrase.
    open: "open",
        "offen",
        "abierta",
        "ouvert";
    /// A network that cannot be joined.
    unsupported: "not supported",
        "nicht unterstützt",
        "no compatible",
        "non pris en charge";
    /// Title and button of the login.
    log_in: "Log in",
        "Anmelden",
        "Iniciar sesión",
        "Se connecter";
    /// Label of the login's one field.
    device_passphrase: "Passphrase on the encoder’s label",
        "Passwort auf dem Etikett des Encoders",
        "Contraseña de la etiqueta del codificador",
        "Mot de passe sur l’étiquette de l’encodeur";
    /// Why there is a login.
    log_in_why: "This encoder belongs to somebody. Whoever has it in hand may change its networks.",
        "Dieser Encoder gehört jemandem. Wer ihn in der Hand hat, darf seine Netze ändern.",
        "Este codificador tiene dueño. Quien lo tenga en la mano puede cambiar sus redes.",
        "Cet encodeur appartient à quelqu’un. Qui l’a en main peut changer ses réseaux.";
    /// After a wrong one.
    log_in_wrong: "This is not the passphrase on the label.",
        "Das ist nicht das Passwort auf dem Etikett.",
        "Esta no es la contraseña de la etiqueta.",
        "Ce n’est pas le mot de passe de l’étiquette.";
    /// Opens the fields for networks without DHCP.
    fixed_address: "Fixed address, for networks that give none",
        "Feste Adresse, für Netze, die keine vergeben",
        "Dirección fija, para redes que no asignan ninguna",
        "Adresse fixe, pour les réseaux qui n’en donnent pas";
    /// Label of the device's address.
    own_address: "Address of the encoder, such as 192.168.1.50/24",
        "Adresse des Encoders, etwa 192.168.1.50/24",
        "Dirección del codificador, por ejemplo 192.168.1.50/24",
        "Adresse de l’encodeur, par exemple 192.168.1.50/24";
    /// Label of the router's address.
    gateway: "Address of the router (gateway)",
        "Adresse des Routers (Gateway)",
        "Dirección del router (puerta de enlace)",
        "Adresse du routeur (passerelle)";
    /// Label of the name server's address.
    name_server: "Name server (DNS); the router if left empty",
        "Nameserver (DNS); der Router, wenn leer",
        "Servidor de nombres (DNS); el router si se deja vacío",
        "Serveur de noms (DNS) ; le routeur si vide";
    /// They are none, or do not go together.
    address_wrong: "Address, its length after the slash and router do not go together.",
        "Adresse, ihre Länge nach dem Schrägstrich und Router passen nicht zusammen.",
        "La dirección, su longitud tras la barra y el router no concuerdan.",
        "L’adresse, sa longueur après la barre et le routeur ne vont pas ensemble.";
    /// Label of an enterprise network's user name.
    user_name: "User name",
        "Benutzername",
        "Nombre de usuario",
        "Nom d’utilisateur";
    /// Label of the relay's address.
    relay_address: "Address of the relay",
        "Adresse des Relays",
        "Dirección del relay",
        "Adresse du relais";
    /// While it joins, with a radio to spare.
    joining_beside: "The encoder connects now. This takes up to half a minute.",
        "Der Encoder verbindet sich jetzt. Das dauert bis zu einer halben Minute.",
        "El codificador se conecta ahora. Tarda hasta medio minuto.",
        "L’encodeur se connecte maintenant. Cela prend jusqu’à une demi-minute.";
    /// A form that was too old, or of another page.
    form_too_old: "The page was too old. Here it is again.",
        "Die Seite war zu alt. Hier ist sie noch einmal.",
        "La página era demasiado antigua. Aquí está de nuevo.",
        "La page était trop ancienne. La voici à nouveau.";
    /// What was typed is none.
    relay_address_wrong: "This is not the address of a relay. It looks like wss://relay.example.net.",
        "Das ist keine Adresse eines Relays. Sie sieht aus wie wss://relay.example.net.",
        "Esta no es la dirección de un relay. Tiene la forma wss://relay.example.net.",
        "Ce n’est pas l’adresse d’un relais. Elle ressemble à wss://relay.example.net.";
    /// The device's own disk.
    storage_failed: "The encoder could not keep this: its storage is full or damaged.",
        "Der Encoder konnte das nicht speichern: Sein Speicher ist voll oder beschädigt.",
        "El codificador no pudo guardarlo: su almacenamiento está lleno o dañado.",
        "L’encodeur n’a pas pu l’enregistrer : sa mémoire est pleine ou endommagée.";
    /// A network that was joined, while the radio is the access point again.
    network_works: "This network works. The encoder uses it as soon as it knows its relay:",
        "Dieses Netz funktioniert. Der Encoder nutzt es, sobald er sein Relay kennt:",
        "Esta red funciona. El codificador la usará en cuanto conozca su relay:",
        "Ce réseau fonctionne. L’encodeur l’utilisera dès qu’il connaîtra son relais :";
    /// A token that waits for a network.
    token_kept: "The token is kept. The encoder uses it as soon as it is online.",
        "Der Token ist gespeichert. Der Encoder nutzt ihn, sobald er online ist.",
        "El token está guardado. El codificador lo usará en cuanto tenga conexión.",
        "Le jeton est enregistré. L’encodeur l’utilisera dès qu’il sera en ligne.";
    /// Nothing like it.
    wrong_passphrase_length: "A passphrase has 8 to 63 characters.",
        "Ein Passwort hat 8 bis 63 Zeichen.",
        "Una contraseña tiene de 8 a 63 caracteres.",
        "Un mot de passe a de 8 à 63 caractères.";
    /// A name that no network has.
    wrong_name: "A network’s name has 1 to 32 bytes.",
        "Der Name eines Netzes hat 1 bis 32 Bytes.",
        "El nombre de una red tiene de 1 a 32 bytes.",
        "Le nom d’un réseau a de 1 à 32 octets.";
    /// Heading of the list of networks.
    networks: "Wi-Fi networks",
        "WLAN-Netze",
        "Redes wifi",
        "Réseaux Wi-Fi";
    /// Before the age of the list.
    networks_seen: "Age of this list",
        "Alter dieser Liste",
        "Antigüedad de esta lista",
        "Âge de cette liste";
    /// On the button that looks again.
    scan_again: "Look again",
        "Neu suchen",
        "Buscar de nuevo",
        "Chercher à nouveau";
    /// Beside that button, with one radio.
    scan_blinks: "This Wi-Fi goes away for about 15 seconds while the encoder looks. Your phone may switch to another network: come back to this one.",
        "Dieses WLAN verschwindet etwa 15 Sekunden lang, während der Encoder sucht. Das Telefon wechselt vielleicht in ein anderes Netz: Bitte hierher zurückkehren.",
        "Esta red wifi desaparece unos 15 segundos mientras el codificador busca. Puede que su teléfono cambie de red: vuelva a esta.",
        "Ce réseau Wi-Fi disparaît environ 15 secondes pendant que l’encodeur cherche. Votre téléphone changera peut-être de réseau : revenez sur celui-ci.";
    /// Where no network was heard.
    no_networks: "No network was heard. Move the encoder or its antenna, or use a cable or a modem.",
        "Kein Netz gefunden. Den Encoder oder seine Antenne anders aufstellen, oder Kabel oder Modem benutzen.",
        "No se encontró ninguna red. Mueva el codificador o su antena, o use un cable o un módem.",
        "Aucun réseau trouvé. Déplacez l’encodeur ou son antenne, ou utilisez un câble ou un modem.";
    /// On the link to a network that hides its name.
    other_network: "A network that is not in the list",
        "Ein Netz, das nicht in der Liste steht",
        "Una red que no está en la lista",
        "Un réseau absent de la liste";
    /// Label of the name's field.
    network_name: "Name of the network",
        "Name des Netzes",
        "Nombre de la red",
        "Nom du réseau";
    /// Label of the passphrase's field.
    passphrase: "Passphrase",
        "Passwort",
        "Contraseña",
        "Mot de passe";
    /// On the button that joins.
    join: "Connect",
        "Verbinden",
        "Conectar",
        "Se connecter";
    /// While it joins, with one radio.
    joining: "The encoder connects now, and this Wi-Fi goes away. If that fails, it comes back within 30 seconds and says why.",
        "Der Encoder verbindet sich jetzt, und dieses WLAN verschwindet. Klappt es nicht, ist es nach 30 Sekunden wieder da und nennt den Grund.",
        "El codificador se conecta ahora y esta red wifi desaparece. Si falla, vuelve en 30 segundos y dice por qué.",
        "L’encodeur se connecte maintenant et ce réseau Wi-Fi disparaît. En cas d’échec, il revient sous 30 secondes et dit pourquoi.";
    /// Label of the token's field.
    token: "Enrolment token",
        "Anmelde-Token",
        "Token de registro",
        "Jeton d’inscription";
    /// Where one finds the token.
    token_where: "On the relay’s page “Devices”, choose “Add a device”.",
        "Auf der Relay-Seite „Devices“ „Add a device“ wählen.",
        "En la página «Devices» del relay, elija «Add a device».",
        "Sur la page « Devices » du relais, choisissez « Add a device ».";
    /// On the button that sends the token.
    enrol: "Connect to the relay",
        "Mit dem Relay verbinden",
        "Vincular con el relay",
        "Relier au relais";
    /// Title when all is well.
    online: "The encoder is online",
        "Der Encoder ist online",
        "El codificador está en línea",
        "L’encodeur est en ligne";
    /// What happens next.
    online_next: "This Wi-Fi goes away now. Everything else is on your relay’s pages.",
        "Dieses WLAN verschwindet jetzt. Alles Weitere steht auf den Seiten des Relays.",
        "Esta red wifi desaparece ahora. Todo lo demás está en las páginas de su relay.",
        "Ce réseau Wi-Fi disparaît maintenant. Tout le reste se trouve sur les pages de votre relais.";
    /// The key was wrong.
    wrong_key: "The passphrase was not accepted. Check capital letters and similar characters, and type it again.",
        "Das Passwort wurde nicht angenommen. Groß- und Kleinschreibung und ähnliche Zeichen prüfen und noch einmal eingeben.",
        "La red no aceptó la contraseña. Compruebe mayúsculas y caracteres parecidos y escríbala de nuevo.",
        "Le mot de passe n’a pas été accepté. Vérifiez les majuscules et les caractères semblables, puis saisissez-le à nouveau.";
    /// The network went away.
    network_gone: "The network was not heard any more. Move closer to it, or choose another one.",
        "Das Netz war nicht mehr zu empfangen. Näher herangehen oder ein anderes wählen.",
        "La red ya no se recibe. Acérquese o elija otra.",
        "Le réseau n’est plus reçu. Rapprochez-vous ou choisissez-en un autre.";
    /// No DHCP.
    no_address: "The network let the encoder in but gave it no address. Restart the router, or give a fixed address.",
        "Das Netz hat den Encoder eingelassen, ihm aber keine Adresse gegeben. Den Router neu starten oder eine feste Adresse eintragen.",
        "La red aceptó el codificador pero no le dio una dirección. Reinicie el router o indique una dirección fija.",
        "Le réseau a accepté l’encodeur mais ne lui a pas donné d’adresse. Redémarrez le routeur ou indiquez une adresse fixe.";
    /// The network leads nowhere.
    no_internet: "The network does not lead to the internet. Check the router’s own connection.",
        "Das Netz führt nicht ins Internet. Die Verbindung des Routers prüfen.",
        "La red no lleva a Internet. Compruebe la conexión del router.",
        "Le réseau ne mène pas à Internet. Vérifiez la connexion du routeur.";
    /// A portal upstream.
    hotel_portal: "The network wants a login on a page of its own, as in hotels. The encoder cannot do that: share a phone’s connection, or use a modem or a cable.",
        "Das Netz verlangt eine Anmeldung auf einer eigenen Seite, wie in Hotels. Das kann der Encoder nicht: die Verbindung eines Telefons teilen oder Modem oder Kabel benutzen.",
        "La red pide iniciar sesión en una página propia, como en los hoteles. El codificador no puede hacerlo: comparta la conexión de un teléfono o use un módem o un cable.",
        "Le réseau demande une connexion sur sa propre page, comme dans les hôtels. L’encodeur ne peut pas le faire : partagez la connexion d’un téléphone, ou utilisez un modem ou un câble.";
    /// Names are not resolved.
    dns_broken: "The network does not find the relay’s name. Give other name servers, such as 9.9.9.9.",
        "Das Netz findet den Namen des Relays nicht. Andere Nameserver eintragen, etwa 9.9.9.9.",
        "La red no encuentra el nombre del relay. Indique otros servidores de nombres, como 9.9.9.9.",
        "Le réseau ne trouve pas le nom du relais. Indiquez d’autres serveurs de noms, comme 9.9.9.9.";
    /// The clock is wrong.
    clock_wrong: "The encoder’s clock is wrong and the network gives no time. Without the right time no secure connection is possible.",
        "Die Uhr des Encoders geht falsch, und das Netz liefert keine Zeit. Ohne richtige Zeit ist keine sichere Verbindung möglich.",
        "El reloj del codificador está mal y la red no da la hora. Sin la hora correcta no hay conexión segura.",
        "L’horloge de l’encodeur est fausse et le réseau ne donne pas l’heure. Sans la bonne heure, aucune connexion sûre n’est possible.";
    /// The relay is not reached.
    relay_unreachable: "The internet is there, but the relay does not answer. Check its address, or ask whoever runs it.",
        "Das Internet ist da, aber das Relay antwortet nicht. Die Adresse prüfen oder den Betreiber fragen.",
        "Hay Internet, pero el relay no responde. Compruebe su dirección o pregunte a quien lo administra.",
        "Internet est là, mais le relais ne répond pas. Vérifiez son adresse ou demandez à son exploitant.";
    /// The token was used.
    token_used: "This token was used already. Make a new one on the relay.",
        "Dieses Token wurde schon benutzt. Auf dem Relay ein neues erstellen.",
        "Este token ya se usó. Cree uno nuevo en el relay.",
        "Ce jeton a déjà servi. Créez-en un nouveau sur le relais.";
    /// The token is too old.
    token_expired: "This token has expired. Make a new one on the relay.",
        "Dieses Token ist abgelaufen. Auf dem Relay ein neues erstellen.",
        "Este token ha caducado. Cree uno nuevo en el relay.",
        "Ce jeton a expiré. Créez-en un nouveau sur le relais.";
    /// The relay does not know it.
    token_unknown: "The relay does not know this token. Check each character, or make a new one.",
        "Das Relay kennt dieses Token nicht. Jedes Zeichen prüfen oder ein neues erstellen.",
        "El relay no conoce este token. Compruebe cada carácter o cree uno nuevo.",
        "Le relais ne connaît pas ce jeton. Vérifiez chaque caractère ou créez-en un nouveau.";
    /// The network does not let it in.
    refused: "The network did not let the encoder in. It may allow only certain devices, or speak a security that the encoder does not.",
        "Das Netz hat den Encoder nicht eingelassen. Vielleicht erlaubt es nur bestimmte Geräte oder benutzt eine Sicherheit, die der Encoder nicht spricht.",
        "La red no aceptó el codificador. Quizá solo admite ciertos aparatos o usa una seguridad que el codificador no conoce.",
        "Le réseau n’a pas accepté l’encodeur. Il n’autorise peut-être que certains appareils, ou emploie une sécurité que l’encodeur ne connaît pas.";
    /// Nothing more is known.
    not_joined: "The connection did not come about. Try again; if that does not help, restart the encoder.",
        "Die Verbindung kam nicht zustande. Noch einmal versuchen; hilft das nicht, den Encoder neu starten.",
        "La conexión no se estableció. Inténtelo de nuevo; si no ayuda, reinicie el codificador.",
        "La connexion n’a pas abouti. Réessayez ; si cela n’aide pas, redémarrez l’encodeur.";
    /// A modem without network.
    no_mobile_network: "The modem finds no network that lets it in. Check the antenna and whether the SIM card is active.",
        "Das Modem findet kein Netz, das es einlässt. Antenne prüfen, und ob die SIM-Karte freigeschaltet ist.",
        "El módem no encuentra ninguna red que lo acepte. Compruebe la antena y que la tarjeta SIM esté activa.",
        "Le modem ne trouve aucun réseau qui l’accepte. Vérifiez l’antenne et que la carte SIM est active.";
    /// A cable that is not there.
    no_cable: "No cable is plugged in, or its other end is off.",
        "Kein Kabel steckt, oder das andere Ende ist aus.",
        "No hay ningún cable conectado, o el otro extremo está apagado.",
        "Aucun câble n’est branché, ou l’autre bout est éteint.";
    /// The SIM asks for its PIN.
    sim_pin: "The SIM card asks for its PIN.",
        "Die SIM-Karte verlangt ihre PIN.",
        "La tarjeta SIM pide su PIN.",
        "La carte SIM demande son code PIN.";
    /// The SIM did not take it.
    wrong_pin: "This PIN was wrong. Look it up before you try again: after three wrong ones the SIM card is locked.",
        "Diese PIN war falsch. Vor dem nächsten Versuch nachsehen: Nach drei falschen ist die SIM-Karte gesperrt.",
        "Este PIN era erróneo. Compruébelo antes de volver a probar: tras tres erróneos la tarjeta SIM se bloquea.",
        "Ce code PIN était faux. Vérifiez-le avant de réessayer : après trois codes faux, la carte SIM est bloquée.";
    /// It is not tried, as a wrong one could lock the SIM.
    last_pin_try: "One more wrong PIN could lock the SIM card, so the encoder tries none. Put the card into a phone and switch its PIN off there.",
        "Noch eine falsche PIN könnte die SIM-Karte sperren, darum versucht der Encoder keine mehr. Die Karte in ein Telefon einlegen und dort ihre PIN ausschalten.",
        "Otro PIN erróneo podría bloquear la tarjeta SIM, así que el codificador no prueba ninguno más. Ponga la tarjeta en un teléfono y desactive allí su PIN.",
        "Un autre code PIN faux pourrait bloquer la carte SIM : l’encodeur n’en essaie plus. Mettez la carte dans un téléphone et désactivez-y son code PIN.";
    /// What was typed is no PIN.
    no_pin: "A PIN has 4 to 8 digits. This one was not tried.",
        "Eine PIN hat 4 bis 8 Ziffern. Diese wurde nicht versucht.",
        "Un PIN tiene de 4 a 8 cifras. Este no se probó.",
        "Un code PIN a 4 à 8 chiffres. Celui-ci n’a pas été essayé.";
    /// What was typed is no access point name.
    not_an_apn: "An APN has letters, digits, dots and hyphens only, such as internet.example.",
        "Ein APN hat nur Buchstaben, Ziffern, Punkte und Bindestriche, etwa internet.example.",
        "Un APN solo tiene letras, cifras, puntos y guiones, por ejemplo internet.example.",
        "Un APN n’a que des lettres, des chiffres, des points et des traits d’union, par exemple internet.example.";
    /// Something that was asked of a modem goes on.
    modem_busy: "The encoder passes this on to the modem. This takes up to half a minute.",
        "Der Encoder gibt das an das Modem weiter. Das dauert bis zu einer halben Minute.",
        "El codificador se lo pasa al módem. Tarda hasta medio minuto.",
        "L’encodeur le transmet au modem. Cela prend jusqu’à une demi-minute.";
    /// The SIM is locked.
    sim_puk: "The SIM card is locked: the PIN was wrong too often. Unlock it in a phone with its PUK.",
        "Die SIM-Karte ist gesperrt: Die PIN war zu oft falsch. In einem Telefon mit der PUK entsperren.",
        "La tarjeta SIM está bloqueada: el PIN fue erróneo demasiadas veces. Desbloquéela en un teléfono con su PUK.",
        "La carte SIM est bloquée : code PIN erroné trop de fois. Débloquez-la dans un téléphone avec son code PUK.";
    /// It is the wrong one, or broken.
    sim_wrong: "The modem does not accept this SIM card. Try it in a phone, or use another one.",
        "Das Modem nimmt diese SIM-Karte nicht an. In einem Telefon probieren oder eine andere benutzen.",
        "El módem no acepta esta tarjeta SIM. Pruébela en un teléfono o use otra.",
        "Le modem n’accepte pas cette carte SIM. Essayez-la dans un téléphone, ou utilisez-en une autre.";
    /// There is none.
    no_sim: "There is no SIM card in the modem, or it is not read. Put it in again.",
        "Im Modem steckt keine SIM-Karte, oder sie wird nicht gelesen. Neu einsetzen.",
        "No hay tarjeta SIM en el módem, o no se lee. Colóquela de nuevo.",
        "Il n’y a pas de carte SIM dans le modem, ou elle n’est pas lue. Remettez-la en place.";
    /// No access point name.
    no_apn: "The modem needs the name of the operator’s access point (APN). The operator’s pages say it.",
        "Das Modem braucht den Zugangspunkt (APN) des Anbieters. Er steht auf dessen Seiten.",
        "El módem necesita el punto de acceso (APN) del operador. Está en las páginas del operador.",
        "Le modem a besoin du point d’accès (APN) de l’opérateur. Il figure sur les pages de l’opérateur.";
}

impl Texts {
    /// In that language.
    #[must_use]
    pub fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
            Language::German => &GERMAN,
            Language::Spanish => &SPANISH,
            Language::French => &FRENCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_another_in_each_language() {
        for (name, texts) in ALL {
            for (at, text) in texts.iter().enumerate() {
                assert!(!text.trim().is_empty(), "{name}");
                assert!(!texts[..at].contains(text), "{name}: “{text}” twice");
                assert_eq!(text.ends_with('.'), texts[0].ends_with('.'), "{name}: “{text}”");
            }
        }
    }
}
