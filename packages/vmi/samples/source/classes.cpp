/* What C has not: classes with bases, methods, static members and types within types. */
struct Base {
  int base_field;
};
class Other {
public:
  virtual int method(int);
  long long other_field;
};
class Derived : public Base, public Other {
public:
  enum Colour : unsigned char { RED, GREEN = 200 };
  struct Inner {
    short depth;
  };
  int method(int) override;
  int method(char, int);
  static int shared;
  Colour colour;
  Inner inner;
};

int Derived::shared = 3;
int Other::method(int by) { return by; }
int Derived::method(int by) { return base_field + colour + by + shared; }
int Derived::method(char, int by) { return inner.depth + by; }
Derived derived;
