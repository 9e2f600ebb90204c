"""Small words of languages in Latin letters, and what the languages are called. Data.

The words are the most frequent ones that carry grammar, not matter. One that several languages have
stands at each of them. Languages whose small words are nearly the same stand together.
"""

FUNCTION_WORDS: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "af": "die en van in is nie het dit wat vir op te met hy sy ek jy ons hulle was word kan "
        "sal moet ook maar as by aan om uit of na deur so daar baie gaan hierdie jou my sê hoe",
        "ca": "es fins dins sense de la el que i a en els les per un una amb no és del "
        "al se va ha com més dels són o si aquest aquesta això però perquè molt seva "
        "seu també quan hi està pot tot fer ser",
        "cs": "a se v na s z k je že to jak do o i pro ve jsem jako ale by si po tak co jsou od "
        "které který která jeho její nebo jen byl byla bylo může při také až už ako sa nie som vo "
        "zo pri sú keď ktorý ktorá ktoré aby alebo bol bola bolo pre čo ste môže není bude kde kdy "
        "toto této tento tato mají má jeden proto jsme proč však jsi mi mě ti mu jej kedy prečo",
        "da": "og i at det er en et på som til for ikke den med de av af om har jeg vi han hun du "
        "var kan fra men seg sig vil eller så når ble blev også meg mig dette denne der skal være "
        "hvor hva hvad noe noget etter efter enn end ved over mot mod sin min din deg dig",
        "de": "der die und das in ist nicht ein eine zu den mit sich auf für ich von dem es im "
        "auch als an wie des so er sie wir werden wird aus bei nach noch kann oder aber man nur "
        "über sind hat war einen einem einer eines durch wenn zum zur um am vom dass du was mehr",
        "en": "the and of is to in that it was for are with this you have a i he she we they be "
        "as on at by or an not from but had his her their my your its our which what when where "
        "who how why will would can could should there has were been if do does did so than then "
        "no all one more me him them about into over out up these those us any some such may each "
        "also only very just both because while between after before most other own off am don ll "
        "isn doesn didn ve re let please explain describe write give tell list find need get go "
        "make take use want know like see come man men war word door end under per ten hat s t",
        "es": "de la que el en y a los se del las un por con no una su para es al lo como más o "
        "pero sus le ya este sí porque esta son entre está cuando muy sin sobre ser también me "
        "hasta hay donde desde nos fue ha todo puede esto antes qué yo eso él ella tiene hace si",
        "et": "ja on ei et see ka kui oma ta mis ning aga siis nii oli ma sa me te nad mida kes "
        "selle seda või kus juba veel väga ole saab pole pärast enne kuid sest nagu olen olid "
        "kõik mitte üks ainult peab seal siin tema minu",
        "eu": "eta da ez bat du dira zen ere egin izan dut dute baina hau hori oso baino edo bere "
        "beste den duen diren zuen nahi behar dago daude bezala ziren gero orain guztiak zer nola "
        "zein baten egiten ditu zaio gara naiz",
        "fi": "ja on ei se että oli hän mutta ovat kun niin kuin myös tai joka jos vain minä sen "
        "ole olen sinä me he tämä siitä voi mitä sitä ollut jotka nyt vielä olla sekä hänen tämän "
        "kanssa mukaan koska jo joten eivät sillä minun ovatko onko miten mikä ennen",
        "fr": "de la le et les des en un une du est que dans qui pour il au par plus pas sur ne "
        "se ce avec sont vous nous je on à ou mais son sa ses cette aux elle être ont comme été "
        "fait leur y a si tout même bien aussi où ces peut très qu ai",
        "hr": "je i s u na se da za su od o a ne to što kao iz nije ali sam bi ili koji koja koje "
        "bio bila bilo kako po biti ako će ima do samo li sve smo već može nego jer taj kada gdje "
        "gde šta još te ovo oni ona on ti mi ja mu ju ih njegov prije pre nakon vrlo",
        "hu": "a az és hogy nem is egy van de ez csak meg volt már mint azt még el fel ki le be "
        "vagy ha én te ő mi ami amely aki akkor nagyon lesz kell minden után ezt lehet mert pedig "
        "majd itt ott sem olyan ezek azok voltak között szerint neki benne vannak",
        "id": "yang dan di ini itu dengan untuk tidak dari dalam adalah pada akan ke saya juga "
        "ada dia kita mereka oleh atau sudah bisa dapat karena seperti kami lebih telah sebagai "
        "anda secara tetapi jika kamu aku tersebut bahwa lagi banyak boleh ialah satu para antara "
        "hanya sangat harus setelah ketika semua orang agar serta saat",
        "it": "di che e la il un a per in una è non sono i del si con le da al lo della mi ho ma "
        "ha come nel dei gli più anche se delle io ci questo alla questa o dal su degli nella "
        "essere cosa molto quando tutto perché sua suo tra dove era loro dopo può dell all nell "
        "così nei alle dalla sulla viene",
        "la": "et in est non ad ut cum quod qui sed si de ex ab per sunt esse enim quae quam "
        "atque aut hoc nec autem quo ac id me te se eius quidem etiam nam vel neque sit dolor "
        "amet ipsum tempor dolore magna aliqua nostrud",
        "lt": "ir yra į kad su ne iš tai buvo kaip bet jis ji aš apie tik jo po už dar nuo gali "
        "ar savo prie iki jau labai mes jūs kai kur kuris kuri kurie o taip pat būti nėra visi "
        "šis šios per dėl arba tačiau jų čia mano ką",
        "lv": "un ir ar no uz ka par tas kas lai bet nav pie viņš viņa es mēs jūs pēc arī kā to "
        "tā ko šis šī bija tiek vai ļoti savu savas tikai vēl jau būt var kur kad jo līdz pa gan "
        "viņi tie ja esmu starp pirms kurš kura kuri",
        "nl": "de en van het een in is dat op te zijn met voor niet die er aan om ook als maar "
        "bij dan nog uit door naar heeft tot ik je hij ze we was worden wordt over kan dit deze "
        "meer of hebben geen u hun haar al wat zo zich moet veel zal wel omdat waar kunnen na "
        "onder",
        "pl": "i w z na nie się do to jest że o jak ale po co a za od tak są przez przy czy już "
        "dla tym go ma ze jego jej oraz lub może być tylko jako który która które był była było "
        "tego ten ta te mnie bardzo jeszcze również gdy gdzie więc można jeśli pod nad przed",
        "pt": "de que e o a do da em um para é com não uma os no se na por mais as dos como mas "
        "foi ao das tem à seu sua ou ser quando muito há nos já está eu também só pelo pela até "
        "isso ela ele entre era depois sem mesmo aos são ter você este esta pode num numa onde",
        "ro": "și de în a la cu nu o pe să este că din un care se mai pentru au ce sunt ca am fi "
        "dar lui prin ei nici după sau cum fost era iar dacă al ale unei unui foarte cel cea "
        "acest această poate până când noi eu el ea despre între fiind toate mea sa ne îl le ţi "
        "şi",
        "sl": "je in v s z k na se da za so ne pri ki pa kot to po tudi od iz ali do bo če kako "
        "lahko bi sem ni kaj še med že zelo biti bil bila bilo si smo mi jih ga ta tem svoj ter "
        "kjer ko samo vse zaradi nad pred ima imajo kdaj kdo",
        "sq": "të e në i dhe për me një që nga së është si nuk do më u ka ishte por janë kjo ky "
        "se duke tij ai ajo ne ju edhe kur çfarë shumë pas mund kam ose saj tyre jo unë ti prej "
        "deri vetëm gjithë kishte pa ku",
        "sv": "och att det i en är som på för av med den till inte ett de jag har om han var kan "
        "så från men eller vi sig när du ut vid efter även mot ska också där detta denna hur "
        "mycket utan under blir hon man dig mig sin blev över finns vad dem få än ni mellan "
        "varför",
        "sw": "na ya wa kwa ni katika la za cha hii huo yake kuwa hiyo kama wake au si pia lakini "
        "wao sana watu hizo ili hivyo kila kutoka bila baada kabla mimi wewe yeye sisi hapa hao "
        "huu huyu hilo yao kwamba ambayo ambaye kuna zaidi vya hata tu yangu wangu alikuwa",
        "tl": "ang ng sa na mga ay at si ni ko mo ito para hindi siya kung may kanyang isang lang "
        "ako ka din rin ngunit dahil pero nang niya kami sila natin ating kayo wala mayroon pa "
        "iyong tayo ba po nito noong aking ikaw nila namin bilang upang maging",
        "tr": "ve bir bu da de için ile çok olarak daha en ne gibi o olan kadar ama sonra ya her "
        "şey değil mi var yok ki ben sen biz onlar olduğu ise bana sana onun veya hem nasıl neden "  # noqa: RUF001  # Turkish
        "göre önce diye olur olup bunu mı mu şu tarafından ancak çünkü eğer hiç zaman",  # noqa: RUF001  # Turkish
        "vi": "và của là có không được cho trong một các này với những người đã để khi tôi bạn "
        "anh nhưng từ về như đến cũng ra vào ở sẽ rất nhiều còn hay nó thì mà trên hoặc đó lại "
        "nếu phải làm chúng nào đang sau tại bởi vì theo bị đi sự việc",
    }.items()
}
"""By language: Danish and Norwegian, Czech and Slovak, Croatian, Serbian and Bosnian, Indonesian
and Malay are one each. Latin is there to be told from its daughters. English also has words of
matter: those of commands and questions, and those that are written as small words of others."""

NAMED_LANGUAGES: dict[str, str] = {
    "af": "afrikaans|south africa|südafrika",
    "ca": "catal|katalan|valenci|barcelona|andorra",
    "cs": "czech|tschech|tch[eè]que|checo|češ|česk|slovak|slowak|slovaque|eslovac|slovensk|prague",
    "da": "danish|denmark|dänisch|danois|danés|dansk|copenhagen|norwegian|norway|norweg|norv[eé]g"
    "|noruego|norsk|norge|oslo|bokmål|nynorsk|greenland|faroe",
    "de": "german|deutsch|allem[aá]n|allemagne|alemania|tedesc|niemie|duits|austria|österreich"
    "|autrich|swiss|switzerland|schweiz|suisse|suiz|svizzer|berlin|munich|vienna|liechtenstein",
    "en": "english|englisch|anglais|ingl[eé]s|engels|engelsk|angielsk|angličtin|englanti"
    "|angol|inggris|ingiliz|england|british|britisch|american|amerikan|américain|tiếng anh",
    "es": "spanish|spain|spani|español|espagnol|spagnol|castell?[ai]|hiszpa|mexic|méxic"
    "|argentin|chile|colombia|peru|perú|cuba|madrid|ecuador|venezuel|bolivi|uruguay|paragua|latino|latina"
    "|latin america|hispanic|guatemal|hondur|salvador|nicaragu|costa rica|panam|dominican"
    "|puerto rico",
    "et": "estonia|estnisch|estonie|eesti|tallinn",
    "eu": "basque|baskisch|vasco|euskar|bilbao",
    "fi": "finnish|finland|finnisch|finland|finlandais|finland[eé]s|suomi|suome|helsinki",
    "fr": "french|france|français|francais|franc[eé]s|francese|französ|francuz|frans|canada"
    "|canadi|kanad|quebec|québec|belgi|belge|swiss|switzerland|schweiz|suisse|paris|senegal|sénégal"
    "|haiti|morocc|algeri|tunisi|ivory|luxemb|monaco|congo|camero",
    "hr": "croat|kroat|hrvat|serb|srps|bosn|montenegr|yugoslav|jugoslaw|zagreb|belgrad|sarajev",
    "hu": "hungar|ungar|hongr|húngar|magyar|budapest",
    "id": "indones|malay|melayu|bahasa|jakarta|java|bali|sumatra|singapor|brunei|kuala",
    "it": "italian|italy|italien|italia|włosk|itali|sicil|vatican|rome|milan|florence|swiss"
    "|switzerland|schweiz|san marino",
    "la": "",
    "lt": "lithuania|litau|lituan|lietuv|vilnius",
    "lv": "latvia|lettisch|letton|latv|riga",
    "nl": "dutch|netherland|holland|niederl|néerl|neerland|nederland|flemish|flanders|flämi|vlaams"
    "|belgi|suriname|amsterdam",
    "pl": "polish|poland|polnisch|polen|polonais|polac|polon|polsk|polski|warsaw|krak",
    "pt": "portug|brazil|brasil|brésil|brasilei|lisbo|lusophon|angola|mozambi|moçambi|cape verde",
    "ro": "romania|rumän|roumain|rumano|român|moldov|bucharest",
    "sl": "sloven|slowen|slovèn|eslovenia|ljubljana",
    "sq": "albania|alban|shqip|kosovo|tirana",
    "sv": "swedish|sweden|schwed|suéd|suec|svensk|sverige|stockholm|finland",
    "sw": "swahili|kiswahili|suaheli|kenya|tanzania|uganda|zanzibar|nairobi",
    "tl": "tagalog|filipin|philippin|pilipin|manila",
    "tr": "turk|türk|turc|turco|turecki|istanbul|ankara|cyprus",
    "vi": "vietnam|việt|hanoi|saigon",
}
"""By language: the beginnings of its names, and of the countries where it is spoken."""
